//! Refusals are sent immediately, after a delay, or not at all.

use std::time::Duration;

use callgate::{Refusal, RefusalStyle, Reply, clock::UnixTime, record::Reason};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{Bench, NOW, app_user};

/// A gate that refuses every user except alice.
fn with_style(style: RefusalStyle) -> Bench {
    Bench::new(|builder| {
        builder.refusals(style).authorize(|request| async move {
            match request.credential() {
                callgate::request::Credential::Password { user, .. } if user == "alice" => {
                    Ok(app_user())
                }
                callgate::request::Credential::Password { user, .. } if user == "down" => {
                    Err(Refusal::Unavailable("no answer".to_owned()))
                }
                _ => Err(Refusal::deny("not alice")),
            }
        })
    })
}

fn silent(max: usize) -> Bench {
    with_style(RefusalStyle { silent_max: Some(max), delay: Duration::ZERO })
}

async fn mallory(bench: &Bench) -> Reply {
    let request = bench.request().password("mallory", "guess").build();
    let (reply, decision) = bench.handle(&request.payload, None).await;
    assert_eq!(decision.reason, Reason::BadPassword, "recorded, answered or not");
    reply
}

#[tokio::test(start_paused = true)]
async fn refusals_beyond_silent_max_are_answered() {
    let bench = silent(2);
    let mut answered = Vec::new();
    for _ in 0..4 {
        answered.push(mallory(&bench).await != Reply::Silent);
    }
    assert_eq!(answered, [false, false, true, true]);
    // After the server's timeout the first refusals no longer count.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(mallory(&bench).await, Reply::Silent);
}

#[tokio::test(start_paused = true)]
async fn only_wrong_credentials_are_refused_silently() {
    let bench = silent(100);
    bench.admitted(bench.alice()).await;
    bench.refused(bench.request(), Reason::NoCredential).await;
    bench.refused(bench.request().password("down", "x"), Reason::BackendUnavailable).await;
    let token = bench.request().token("guess").build();
    assert_eq!(bench.handle(&token.payload, None).await.0, Reply::Silent);
}

#[tokio::test(start_paused = true)]
async fn silent_max_of_zero_answers_every_refusal() {
    let bench = silent(0);
    assert_ne!(mallory(&bench).await, Reply::Silent);
}

#[tokio::test(start_paused = true)]
async fn delay_applies_to_refusals_only() {
    let delay = Duration::from_millis(700);
    let bench = with_style(RefusalStyle { silent_max: None, delay });
    let began = Instant::now();
    bench.admitted(bench.alice()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    for request in [bench.request(), bench.request().password("mallory", "guess")] {
        let began = Instant::now();
        let (response, _) = bench.answer(&request.build()).await;
        assert_eq!(response.error(), "authorization failed");
        assert!(began.elapsed() >= delay && began.elapsed() < delay * 2, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn delay_is_capped_below_the_server_timeout() {
    for delay in [Duration::from_secs(4), Duration::MAX] {
        let bench = with_style(RefusalStyle { silent_max: None, delay });
        let request = bench.request().password("mallory", "guess").build();
        let timeout = Duration::from_secs(2);
        let began = Instant::now();
        let (response, _) = bench.answer(&request).await;
        assert_eq!(response.error(), "authorization failed");
        let held = began.elapsed();
        assert!(held > timeout / 2 && held < timeout, "{delay:?}: {held:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn delayed_refusals_wait_concurrently() {
    let delay = Duration::from_millis(700);
    let bench = with_style(RefusalStyle { silent_max: None, delay });
    let requests: Vec<_> =
        (0..50).map(|_| bench.request().password("mallory", "guess").build()).collect();
    let began = Instant::now();
    let now = UnixTime::from_seconds(NOW);
    let replies = join_all(requests.iter().map(|r| bench.gate.handle(&r.payload, None, now))).await;
    assert!(began.elapsed() < delay * 2, "{:?}", began.elapsed());
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Answer(_))));
    assert_eq!(bench.take_decisions().len(), 50);
}
