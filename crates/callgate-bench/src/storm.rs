//! `callgate-bench storm`: many concurrent clients.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    Failure,
    cpu::Meter,
    outcome::Outcome,
    wire::{Reader, Received, Writer, connect},
};

/// Connect many clients concurrently to a real nats-server with an auth callout
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  callgate-bench storm --server 127.0.0.1:4222 --clients 5000 --user alice --password-file alice.txt")]
pub(crate) struct Args {
    /// A nats-server with an auth callout
    #[arg(long, default_value = "127.0.0.1:4222")]
    server: SocketAddr,
    /// How many clients
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Maximum number of concurrent connection attempts; unlimited by default
    #[arg(long)]
    at_a_time: Option<usize>,
    /// The user that clients present
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// A file with its password
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// A file with the token that clients present instead
    #[arg(long, conflicts_with = "user")]
    token_file: Option<PathBuf>,
    /// How long a client waits
    #[arg(long, default_value_t = 30)]
    patience_seconds: u64,
    /// Keep the connections after the result is printed, and end when the server has closed all of them
    #[arg(long)]
    hold: bool,
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

enum Ended {
    Admitted(Duration, Box<(Reader, Writer)>),
    Refused,
    TimedOut,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let options = options(&args)?;
    let patience = Duration::from_secs(args.patience_seconds);
    let (mut responder, mut server) = (Meter::new(args.responder_pid), Meter::new(args.server_pid));
    responder.start();
    server.start();
    let started = Instant::now();
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(
        args.at_a_time.unwrap_or(args.clients).max(1),
    ));
    let mut clients = JoinSet::new();
    for _ in 0..args.clients {
        let (options, slots, server) =
            (options.clone(), std::sync::Arc::clone(&slots), args.server);
        clients.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let begun = Instant::now();
            match timeout(patience, enter(server, &options)).await {
                Ok(Ok(Some(connection))) => Ended::Admitted(begun.elapsed(), Box::new(connection)),
                Ok(Ok(None)) => Ended::Refused,
                Ok(Err(_)) | Err(_) => Ended::TimedOut,
            }
        });
    }
    let mut outcome = Outcome { kind: "storm", requests: args.clients, ..Outcome::default() };
    let (mut kept, mut last) = (Vec::new(), started);
    while let Some(ended) = clients.join_next().await {
        match ended? {
            Ended::Admitted(took, connection) => {
                outcome.admitted += 1;
                outcome.latencies.push(took);
                kept.push(*connection);
                last = Instant::now();
            }
            Ended::Refused => outcome.refused += 1,
            Ended::TimedOut => outcome.unanswered += 1,
        }
    }
    responder.stop();
    server.stop();
    outcome.responder_cpu = responder.micros_for_each(args.clients);
    outcome.server_cpu = server.micros_for_each(args.clients);
    outcome.responder_peak_mib = responder.peak_mib();
    outcome.responder_mib = responder.resident_mib();
    outcome.seconds = last.duration_since(started).as_secs_f64();
    outcome.finish().print(args.json)?;
    if args.hold {
        all_closed(kept).await;
    }
    Ok(())
}

/// Returns when the server has closed every connection.
async fn all_closed(connections: Vec<(Reader, Writer)>) {
    let mut open = JoinSet::new();
    for connection in connections {
        open.spawn(async move {
            let (mut reader, _writer) = connection;
            while reader.receive().await.is_ok() {}
        });
    }
    while open.join_next().await.is_some() {}
}

fn options(args: &Args) -> Result<String, Failure> {
    let mut options = serde_json::json!({
        "verbose": false, "pedantic": false, "name": "callgate-bench", "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"), "protocol": 1,
    });
    let map = options.as_object_mut().ok_or("no options")?;
    let file =
        |path: &PathBuf| std::fs::read_to_string(path).map(|text| text.trim_end().to_owned());
    match (&args.user, &args.password_file, &args.token_file) {
        (Some(user), Some(path), _) => {
            map.insert("user".to_owned(), user.as_str().into());
            map.insert("pass".to_owned(), file(path)?.into());
        }
        (_, _, Some(path)) => {
            map.insert("auth_token".to_owned(), file(path)?.into());
        }
        (_, _, None) => return Err("give --user and --password-file, or --token-file".into()),
    }
    Ok(options.to_string())
}

/// The connection if it was admitted, `None` if it was refused.
async fn enter(server: SocketAddr, options: &str) -> std::io::Result<Option<(Reader, Writer)>> {
    let (mut reader, writer) = connect(server, options).await?;
    loop {
        match reader.receive().await? {
            Received::Pong => return Ok(Some((reader, writer))),
            Received::Error => return Ok(None),
            Received::Message(..) | Received::Ping | Received::Other => {}
        }
    }
}
