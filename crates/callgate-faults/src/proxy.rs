//! A TCP proxy in this process that can cut its connections and change answers.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

/// What happens to the answers of the server, in pieces as they arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// They are passed on.
    Genuine,
    /// Half of a piece is passed on, then the connection ends.
    Truncated,
    /// Each piece is passed on twice.
    Doubled,
    /// A piece is passed on again and again, until the client goes away.
    Endless,
    /// They are kept until answers are genuine again.
    Late,
    /// Every bit is inverted.
    Inverted,
    /// New connections end before the server is reached.
    Missing,
}

/// Passes connections on to one address. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    cuts: Arc<watch::Sender<u32>>,
    answers: Arc<watch::Sender<Answers>>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// To a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cuts = Arc::new(watch::Sender::new(0));
        let answers = Arc::new(watch::Sender::new(Answers::Genuine));
        let (all_cuts, all_answers) = (Arc::clone(&cuts), Arc::clone(&answers));
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = all_cuts.subscribe();
                let answers = all_answers.subscribe();
                tokio::spawn(async move {
                    // Dropping both ends closes them and loses data in transit.
                    tokio::select! {
                        _closed = pass(client, port, answers) => (),
                        _ = cut.changed() => (),
                    }
                });
            }
        });
        Self { address, cuts, answers, listener }
    }

    /// `nats://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts every connection; new ones are passed on.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Changes answers from now on, also on open connections.
    pub fn answer(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Passes everything on until either end closes.
async fn pass(
    mut client: TcpStream,
    port: u16,
    answers: watch::Receiver<Answers>,
) -> io::Result<()> {
    if *answers.borrow() == Answers::Missing {
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut from_client, to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    tokio::select! {
        end = copy(&mut from_client, &mut to_server) => end.map(drop),
        end = pass_answers(from_server, to_client, answers) => end,
    }
}

async fn pass_answers(
    mut server: tcp::ReadHalf<'_>,
    mut client: tcp::WriteHalf<'_>,
    mut answers: watch::Receiver<Answers>,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = server.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        let piece = &mut piece[..length];
        let now = *answers.borrow();
        match now {
            Answers::Genuine | Answers::Missing => client.write_all(piece).await?,
            Answers::Truncated => return client.write_all(&piece[..length / 2]).await,
            Answers::Doubled => client.write_all(&[&*piece, &*piece].concat()).await?,
            Answers::Endless => loop {
                client.write_all(piece).await?;
            },
            Answers::Late => {
                let waited = answers.wait_for(|answers| *answers != Answers::Late).await;
                waited.map(drop).map_err(io::Error::other)?;
                client.write_all(piece).await?;
            }
            Answers::Inverted => {
                piece.iter_mut().for_each(|byte| *byte = !*byte);
                client.write_all(piece).await?;
            }
        }
    }
}
