//! `callgate-bench flood`: plays many NATS servers.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{keys::CurvePublicKey, secret::Secret, simulation::SimulatedServer};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use crate::{
    Failure,
    answers::{Judge, Verdict, issuer},
    cpu::Meter,
    outcome::Outcome,
    premade::{Login, Premade, Target, requests},
    wire::{Reader, Received, Writer, connect},
};

/// Play many NATS servers: send signed, sealed requests to a responder on a plain nats-server
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: 20,000 requests, 64 at a time, against whatever answers on this server
  callgate-bench flood --server 127.0.0.1:4222 --issuer AB… --xkey XA… --user alice \\
      --password-file alice.txt --requests 20000 --depth 64 --responder-pid $(pidof callgate)"
)]
pub(crate) struct Args {
    /// A nats-server without an auth callout, on which the responder listens
    #[arg(long, default_value = "127.0.0.1:4222")]
    server: SocketAddr,
    /// Our own user on that server, in the callout account
    #[arg(long, requires = "server_password_file")]
    server_user: Option<String>,
    /// A file with its password
    #[arg(long, requires = "server_user")]
    server_password_file: Option<PathBuf>,
    /// The issuer's public key (A…): requests are for it, and answers must be signed by it
    #[arg(long)]
    issuer: String,
    /// The responder's xkey (X…); without it, requests are not encrypted
    #[arg(long)]
    xkey: Option<CurvePublicKey>,
    /// The user that clients present
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// A file with its password
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// A file of tokens, one on a line, which clients present in turn
    #[arg(long, conflicts_with = "user")]
    tokens: Option<PathBuf>,
    /// A file of user names and passwords, separated by a space, one pair on a line, which clients present in turn
    #[arg(long, conflicts_with_all = ["user", "tokens"])]
    logins: Option<PathBuf>,
    /// How many requests
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// Repeat this many times, with new requests of the same servers and tokens
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Send all requests this many times before the measurement, so that the keys of all servers are known
    #[arg(long, default_value_t = 0)]
    warm_up: usize,
    /// Number of servers to simulate, each with separate keys
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// Closed loop: this many requests wait for their answers at a time
    #[arg(long, default_value_t = 32)]
    depth: usize,
    /// Open loop: this many requests a second, whether or not they are answered
    #[arg(long, value_parser = pause)]
    rate: Option<Duration>,
    /// The responder's process, to measure its CPU time and memory
    #[arg(long)]
    responder_pid: Option<u32>,
    /// The server's process
    #[arg(long)]
    server_pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The time between two requests at this many a second.
fn pause(rate: &str) -> Result<Duration, String> {
    let a_second = rate.parse::<f64>().ok().filter(|rate| *rate > 0.0);
    a_second
        .and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok())
        .ok_or_else(|| "must be a number above 0: requests a second".to_owned())
}

/// After the last request, answers are waited for this long.
const PATIENCE: Duration = Duration::from_secs(5);

struct Answered {
    number: usize,
    payload: Vec<u8>,
    at: Instant,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let target = Target { issuer: issuer(&args.issuer)?, xkey: args.xkey.clone() };
    let login = login(&args)?;
    let servers: Vec<SimulatedServer> =
        (0..args.servers.max(1)).map(|_| SimulatedServer::new()).collect::<Result<_, _>>()?;
    let options = options(&args)?;
    let mut outcome = Outcome { kind: "flood", ..Outcome::default() };
    let (mut responder, mut server) = (Meter::new(args.responder_pid), Meter::new(args.server_pid));
    for round in 0..args.warm_up + args.repeat.max(1) {
        let premade = requests(&target, &login, &servers, args.requests)?;
        let (reader, writer) = connect(args.server, &options).await?;
        let exchange = Exchange { reader, writer, premade: &premade };
        if round < args.warm_up {
            exchange.run(&args).await?;
            continue;
        }
        responder.start();
        server.start();
        let exchanged = exchange.run(&args).await?;
        responder.stop();
        server.stop();
        // Every answer is checked, after the clock has stopped.
        exchanged.judge(&target, &premade, &servers, &mut outcome)?;
    }
    outcome.responder_cpu = responder.micros_for_each(outcome.requests);
    outcome.server_cpu = server.micros_for_each(outcome.requests);
    outcome.responder_peak_mib = responder.peak_mib();
    outcome.responder_mib = responder.resident_mib();
    outcome.finish().print(args.json)
}

/// What we say in CONNECT.
fn options(args: &Args) -> Result<String, Failure> {
    let mut options = serde_json::json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
        "name": "callgate-bench",
    });
    let map = options.as_object_mut().ok_or("no options")?;
    if let (Some(user), Some(path)) = (&args.server_user, &args.server_password_file) {
        map.insert("user".to_owned(), user.as_str().into());
        map.insert("pass".to_owned(), std::fs::read_to_string(path)?.trim_end().into());
    }
    Ok(options.to_string())
}

fn login(args: &Args) -> Result<Login, Failure> {
    if let (Some(user), Some(path)) = (&args.user, &args.password_file) {
        let password = std::fs::read_to_string(path)?;
        return Ok(Login::Passwords(vec![(user.clone(), Secret::new(password.trim_end()))]));
    }
    if let Some(path) = &args.logins {
        let text = std::fs::read_to_string(path)?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let logins: Vec<_> =
            pairs.map(|(user, password)| (user.to_owned(), Secret::new(password))).collect();
        if logins.is_empty() {
            return Err("the file of logins is empty".into());
        }
        return Ok(Login::Passwords(logins));
    }
    let path =
        args.tokens.as_ref().ok_or("give --user and --password-file, --logins, or --tokens")?;
    let text = std::fs::read_to_string(path)?;
    let tokens: Vec<Secret> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Secret::new(line.trim()))
        .collect();
    if tokens.is_empty() {
        return Err("the file of tokens is empty".into());
    }
    Ok(Login::Tokens(tokens))
}

/// Where answers arrive: not where those of another run on the same server do.
fn inbox() -> String {
    format!("_INBOX.bench-{}", std::process::id())
}

/// The bytes that publish a request.
fn frame(number: usize, request: &Premade) -> Vec<u8> {
    let headers =
        request.header.as_ref().map(|key| format!("NATS/1.0\r\nNats-Server-Xkey: {key}\r\n\r\n"));
    let head = headers.unwrap_or_default();
    let total = head.len() + request.payload.len();
    let verb = if head.is_empty() {
        format!("PUB $SYS.REQ.USER.AUTH {}.{number} {total}\r\n", inbox())
    } else {
        format!("HPUB $SYS.REQ.USER.AUTH {}.{number} {} {total}\r\n", inbox(), head.len())
    };
    [verb.as_bytes(), head.as_bytes(), &request.payload, b"\r\n"].concat()
}

/// Requests on one connection, and their answers.
struct Exchange<'a> {
    reader: Reader,
    writer: Writer,
    premade: &'a [Premade],
}

/// The send time and the answer of each request.
struct Exchanged {
    started: Instant,
    sent: Vec<Instant>,
    answers: Vec<Answered>,
}

impl Exchange<'_> {
    async fn run(mut self, args: &Args) -> Result<Exchanged, Failure> {
        let frames: Vec<Vec<u8>> =
            self.premade.iter().enumerate().map(|(n, request)| frame(n, request)).collect();
        self.writer.write(format!("SUB {}.* 1\r\n", inbox()).as_bytes()).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(args.depth.max(1)));
        let done = Arc::new(Done {
            answered: AtomicUsize::new(0),
            all: frames.len(),
            notify: Notify::new(),
        });
        let reading =
            tokio::spawn(read(self.reader, sender, Arc::clone(&slots), Arc::clone(&done)));
        let started = Instant::now();
        let sent = send(&mut self.writer, &frames, args, &slots).await?;
        let _ = timeout_at(Instant::now() + PATIENCE, done.wait()).await;
        reading.abort();
        let _ = reading.await;
        Ok(Exchanged { started, sent, answers: collect(receiver) })
    }
}

struct Done {
    answered: AtomicUsize,
    all: usize,
    notify: Notify,
}

impl Done {
    fn one(&self) {
        if self.answered.fetch_add(1, Ordering::Relaxed) + 1 == self.all {
            self.notify.notify_one();
        }
    }

    async fn wait(&self) {
        while self.answered.load(Ordering::Relaxed) < self.all {
            self.notify.notified().await;
        }
    }
}

async fn read(
    mut reader: Reader,
    sender: mpsc::UnboundedSender<Answered>,
    slots: Arc<Semaphore>,
    done: Arc<Done>,
) {
    while let Ok(received) = reader.receive().await {
        let Received::Message(subject, payload) = received else { continue };
        let at = Instant::now();
        let Some(number) = subject.rsplit('.').next().and_then(|n| n.parse().ok()) else {
            continue;
        };
        slots.add_permits(1);
        done.one();
        if sender.send(Answered { number, payload, at }).is_err() {
            return;
        }
    }
}

/// When the next request of an open loop is due.
struct Pace {
    every: Duration,
    next: Instant,
}

/// A sleep that takes longer than requested by this was not scheduled in time.
const OVERSLEPT: Duration = Duration::from_millis(1);

impl Pace {
    /// Waits for the moment of the next request. Not by the runtime's clock, whose ticks of a
    /// millisecond would send requests in bunches; the answers are read on another thread.
    fn wait(&mut self) {
        let pause = self.next.saturating_duration_since(Instant::now());
        if !pause.is_zero() {
            tokio::task::block_in_place(|| std::thread::sleep(pause));
        }
        self.next = self.after(Instant::now(), !pause.is_zero());
    }

    /// The time of the request after the one that is sent `now`. If the sender woke too late, all later
    /// requests move by the same time, so that a machine that stood still sends no burst. Any other delay,
    /// such as that of a server that does not read, is made up for.
    fn after(&self, now: Instant, slept: bool) -> Instant {
        let overslept = slept && now.saturating_duration_since(self.next) > OVERSLEPT;
        (if overslept { now } else { self.next }) + self.every
    }
}

/// Sends every frame and returns when each was sent.
async fn send(
    writer: &mut Writer,
    frames: &[Vec<u8>],
    args: &Args,
    slots: &Semaphore,
) -> Result<Vec<Instant>, Failure> {
    let mut sent = Vec::with_capacity(frames.len());
    let mut pace = args.rate.map(|every| Pace { every, next: Instant::now() });
    for frame in frames {
        match &mut pace {
            Some(pace) => pace.wait(),
            // A lost answer must not stop the load.
            None => {
                if let Ok(slot) = timeout_at(Instant::now() + PATIENCE, slots.acquire()).await {
                    slot?.forget();
                }
            }
        }
        sent.push(Instant::now());
        writer.write(frame).await?;
    }
    Ok(sent)
}

fn collect(mut receiver: mpsc::UnboundedReceiver<Answered>) -> Vec<Answered> {
    let mut answers = Vec::new();
    while let Ok(answer) = receiver.try_recv() {
        answers.push(answer);
    }
    answers
}

impl Exchanged {
    /// Checks every answer, and counts the outcomes.
    fn judge(
        self,
        target: &Target,
        premade: &[Premade],
        servers: &[SimulatedServer],
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let judge = Judge::new(target.clone())?;
        let last = self.answers.iter().map(|answer| answer.at).max().unwrap_or(self.started);
        outcome.requests += premade.len();
        outcome.unanswered += premade.len().saturating_sub(self.answers.len());
        outcome.seconds += last.saturating_duration_since(self.started).as_secs_f64();
        for answer in &self.answers {
            let (Some(request), Some(at)) =
                (premade.get(answer.number), self.sent.get(answer.number))
            else {
                continue;
            };
            outcome.latencies.push(answer.at.saturating_duration_since(*at));
            let server = servers.get(request.server).ok_or("a server is missing")?;
            match judge.judge(request, server, &answer.payload) {
                Ok(Verdict::Admitted) => outcome.admitted += 1,
                Ok(Verdict::Refused) => outcome.refused += 1,
                Err(error) => {
                    outcome.bad += 1;
                    outcome.complaint.get_or_insert(error.to_string());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn rate_must_be_positive() {
        assert_eq!(pause("1000"), Ok(MILLISECOND));
        assert_eq!(pause("0.5"), Ok(Duration::from_secs(2)));
        for wrong in ["0", "-1", "NaN", "1e-300", "many", ""] {
            assert!(pause(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn late_sender_does_not_burst_and_blocked_one_catches_up() {
        let begun = Instant::now();
        let pace = Pace { every: MILLISECOND, next: begun };
        assert_eq!(pace.after(begun, true), begun + MILLISECOND);
        let a_little = begun + MILLISECOND / 2;
        assert_eq!(pace.after(a_little, true), begun + MILLISECOND);
        let late = begun + 8 * MILLISECOND;
        assert_eq!(pace.after(late, true), late + MILLISECOND);
        assert_eq!(pace.after(late, false), begun + MILLISECOND);
    }
}
