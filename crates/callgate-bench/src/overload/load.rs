//! Logins of several kinds, sent at fixed times whether or not others were answered.

use std::time::Duration;

use callgate::{
    clock::UnixTime,
    secret::Secret,
    simulation::{ClientCredentials, RequestDraft, SimulatedRequest, SimulatedServer},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::site::{Site, TOKEN};
use crate::{
    Failure,
    answers::{Judge, Verdict},
    premade::Premade,
    wire::{Received, connect},
};

/// The default timeout of nats-server.
const SERVER_WAITS: Duration = Duration::from_secs(2);
const OPTIONS: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"user":"bench","pass":"bench","name":"callgate-bench"}"#;

/// Which clients the login belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientGroup {
    /// One of many with a password, of the addresses that flood.
    Flood,
    /// A user with a password, from a separate address.
    Honest,
    /// A machine with a token.
    Token,
    /// A user whose password was verified a moment ago.
    Remembered,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Admitted with the right credential, or refused with a wrong one.
    Correct,
    /// `temporarily unavailable`.
    Overloaded,
    /// No answer, before the server would have given up.
    Unanswered,
    /// Admitted or refused wrongly, or a malformed answer.
    Wrong,
}

/// One login and its outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login {
    pub(super) group: ClientGroup,
    /// When it was sent, since the start.
    pub(super) sent: Duration,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// How many logins a second, of each kind, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub(super) flood: f64,
    pub(super) honest: f64,
    pub(super) token: f64,
    pub(super) remembered: f64,
    pub(super) duration: Duration,
    /// Number of source addresses of the flood.
    pub(super) sources: usize,
    /// The flood has only wrong passwords, the others only right ones, each from its own address.
    pub(super) attack: bool,
}

struct Planned {
    group: ClientGroup,
    at: Duration,
    good: bool,
    request: Premade,
    frame: Vec<u8>,
}

struct Answer {
    number: usize,
    payload: Vec<u8>,
    at: Instant,
}

/// Sends all of it and judges the answers afterwards. `next_user` numbers the users that log in by
/// password, none of them twice.
pub(super) async fn run(
    site: &Site,
    rates: Rates,
    next_user: &mut usize,
) -> Result<Vec<Login>, Failure> {
    let server = SimulatedServer::new()?;
    let plan = plan(site, &server, rates, next_user)?;
    let (mut reader, mut writer) = connect(site.address, OPTIONS).await?;
    writer.write(b"SUB _INBOX.bench.* 1\r\nPING\r\n").await?;
    // One for the greeting's PING, one for ours: then the subscription is there.
    for _ in 0..2 {
        while !matches!(reader.receive().await?, Received::Pong) {}
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        while let Ok(received) = reader.receive().await {
            let Received::Message(subject, payload) = received else { continue };
            let number = subject.rsplit('.').next().and_then(|number| number.parse().ok());
            let at = Instant::now();
            if number.is_some_and(|number| sender.send(Answer { number, payload, at }).is_err()) {
                return;
            }
        }
    });
    let started = Instant::now();
    let mut sent = Vec::with_capacity(plan.len());
    for planned in &plan {
        sleep_until(started + planned.at).await;
        sent.push(Instant::now());
        writer.write(&planned.frame).await?;
    }
    sleep_until(Instant::now() + SERVER_WAITS).await;
    reading.abort();
    let mut answers = Vec::new();
    while let Ok(answer) = receiver.try_recv() {
        answers.push(answer);
    }
    judge(site, &server, &plan, &sent, &answers, started)
}

fn plan(
    site: &Site,
    server: &SimulatedServer,
    rates: Rates,
    next_user: &mut usize,
) -> Result<Vec<Planned>, Failure> {
    let mut times = Vec::new();
    let kinds = [
        (ClientGroup::Flood, rates.flood),
        (ClientGroup::Honest, rates.honest),
        (ClientGroup::Token, rates.token),
        (ClientGroup::Remembered, rates.remembered),
    ];
    for (group, rate) in kinds {
        let count = (rate * rates.duration.as_secs_f64()) as usize;
        // Half a step later than the start, so that kinds do not all come at the same moment.
        let step = |number: usize| Duration::from_secs_f64((number as f64 + 0.5) / rate);
        times.extend((0..count).map(|number| (step(number), group, number)));
    }
    times.sort_by_key(|(at, _, _)| *at);
    // Made before the clock starts, for its middle: they are fresh all the time.
    let now = UnixTime::now().plus(rates.duration / 2);
    let mut plan = Vec::with_capacity(times.len());
    for (index, (at, group, number)) in times.into_iter().enumerate() {
        let user =
            if matches!(group, ClientGroup::Flood | ClientGroup::Honest) { *next_user } else { 0 };
        *next_user += usize::from(matches!(group, ClientGroup::Flood | ClientGroup::Honest));
        let good = match group {
            ClientGroup::Flood => !rates.attack && number % 2 == 0,
            ClientGroup::Honest => rates.attack || number % 2 == 0,
            ClientGroup::Token | ClientGroup::Remembered => true,
        };
        let source = match group {
            // Not an address of the measurement without the flood.
            ClientGroup::Honest if rates.attack => {
                format!("10.4.{}.{}", user / 256 % 256, user % 256)
            }
            ClientGroup::Flood => format!("10.0.{}.1", number % rates.sources.max(1)),
            ClientGroup::Honest => "10.1.0.1".to_owned(),
            ClientGroup::Token => "10.2.0.1".to_owned(),
            ClientGroup::Remembered => "10.3.0.1".to_owned(),
        };
        let draft = RequestDraft {
            source,
            patience: SERVER_WAITS,
            ..RequestDraft::new(presented(group, user, good))
        };
        let made = draft.sign_as(server, &site.target.issuer, site.target.xkey.as_ref(), now)?;
        let frame = frame(index, &made);
        let SimulatedRequest { payload, xkey_header, user_nkey } = made;
        let request = Premade { payload, header: xkey_header, user_nkey, server: 0 };
        plan.push(Planned { group, at, good, request, frame });
    }
    Ok(plan)
}

fn presented(group: ClientGroup, user: usize, good: bool) -> ClientCredentials {
    if group == ClientGroup::Token {
        return ClientCredentials {
            token: Some(Secret::new(TOKEN)),
            ..ClientCredentials::default()
        };
    }
    let password = if good { super::PASSWORD } else { "wrong" };
    ClientCredentials {
        user: Some(format!("u{user}")),
        password: Some(Secret::new(password)),
        ..ClientCredentials::default()
    }
}

fn frame(number: usize, made: &SimulatedRequest) -> Vec<u8> {
    let key = made.xkey_header.as_deref().unwrap_or_default();
    let head = format!("NATS/1.0\r\nNats-Server-Xkey: {key}\r\n\r\n");
    let total = head.len() + made.payload.len();
    let verb = format!("HPUB $SYS.REQ.USER.AUTH _INBOX.bench.{number} {} {total}\r\n", head.len());
    [verb.as_bytes(), head.as_bytes(), &made.payload, b"\r\n"].concat()
}

fn judge(
    site: &Site,
    server: &SimulatedServer,
    plan: &[Planned],
    sent: &[Instant],
    answers: &[Answer],
    started: Instant,
) -> Result<Vec<Login>, Failure> {
    let judge = Judge::new(site.target.clone())?;
    let mut logins: Vec<Login> = plan
        .iter()
        .zip(sent)
        .map(|(planned, sent)| Login {
            group: planned.group,
            sent: sent.saturating_duration_since(started),
            took: SERVER_WAITS,
            outcome: Outcome::Unanswered,
        })
        .collect();
    for answer in answers {
        let (Some(login), Some(planned), Some(sent)) =
            (logins.get_mut(answer.number), plan.get(answer.number), sent.get(answer.number))
        else {
            continue;
        };
        login.took = answer.at.saturating_duration_since(*sent);
        if login.took > SERVER_WAITS {
            continue;
        }
        login.outcome = match judge.judge(&planned.request, server, &answer.payload) {
            Ok(Verdict::Admitted) if planned.good => Outcome::Correct,
            Ok(Verdict::Refused) => match refusal(site, server, &answer.payload)?.as_str() {
                "temporarily unavailable" => Outcome::Overloaded,
                _ if planned.good => Outcome::Wrong,
                _ => Outcome::Correct,
            },
            Ok(Verdict::Admitted) | Err(_) => Outcome::Wrong,
        };
    }
    Ok(logins)
}

/// The text of a refusal, whose signature was checked before.
fn refusal(site: &Site, server: &SimulatedServer, answer: &[u8]) -> Result<String, Failure> {
    let plain = match &site.target.xkey {
        Some(xkey) => server.xkey().shared_with(xkey)?.open(answer)?.to_vec(),
        None => answer.to_vec(),
    };
    let claims = std::str::from_utf8(&plain)?.split('.').nth(1).ok_or("the answer is not a JWT")?;
    let claims: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes())?)?;
    Ok(claims.pointer("/nats/error").and_then(Value::as_str).unwrap_or_default().to_owned())
}
