//! A TCP proxy in this process that can cut its connections.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Passes connections on to one address. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    cuts: Arc<watch::Sender<u32>>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// To a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cuts = Arc::new(watch::Sender::new(0));
        let sender = Arc::clone(&cuts);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = sender.subscribe();
                tokio::spawn(async move {
                    // Dropping both ends closes them and loses data in transit.
                    tokio::select! {
                        () = pass(client, port) => (),
                        _ = cut.changed() => (),
                    }
                });
            }
        });
        Self { address, cuts, listener }
    }

    /// `nats://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Cuts every connection; new ones are passed on.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn pass(mut client: TcpStream, port: u16) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // Either end may close at any time: this is the purpose of the proxy.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
