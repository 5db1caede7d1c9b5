//! When things end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::Event;
use callgate::{Refusal, User, record::Reason, request::AuthRequest};
use callgate_testkit::{NatsServer, eventually, nats_server::Version, wait::PATIENCE};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use super::{
    library::Library,
    manual_callout::ManualCallout,
    server,
    without::{line, pinging},
};
use crate::{
    clients::{Login, options, user_info},
    mode::Mode,
    report::Outcome,
    service::Service,
    site::{Site, Variation},
};

pub(super) async fn session_ends(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _service = Library::start(&site, &server, async |_request: Arc<AuthRequest>| {
        Ok(User::in_account("APP").named("short").unrestricted().expires_in(Duration::from_secs(2)))
    })
    .await;
    let login = Login::password("short", "x");
    session_expires(&site, &server, &login).await;
    Outcome::passed(["the client receives `User Authentication Expired`"])
}

/// Uses `expires_after` of an entry in the users file.
pub(super) async fn entry_ends(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _service = Service::start(&site, &[&server]).await;
    let alice = options(&site, &Login::password("alice", "alice"));
    let alice = alice.connect(server.url()).await.expect("alice is in");
    session_expires(&site, &server, &Login::password("short", "short")).await;
    user_info(&alice).await.expect("other sessions continue");
    Outcome::passed([
        "the client receives `User Authentication Expired`",
        "other sessions continue",
    ])
}

/// Logs in, and waits for the end of the session.
async fn session_expires(site: &Site, server: &NatsServer, login: &Login) {
    let (sender, mut events) = mpsc::unbounded_channel();
    let _client = options(site, login)
        .event_callback(move |event| {
            let _ = sender.send(event);
            std::future::ready(())
        })
        .connect(server.url())
        .await
        .expect("let in");
    let told = async {
        while let Some(event) = events.recv().await {
            if let Event::ServerError(error) = event {
                return error.to_string();
            }
        }
        String::new()
    };
    let told = timeout(PATIENCE, told).await.expect("the end of the session");
    assert!(told.to_lowercase().contains("user authentication expired"), "{told}");
}

/// With `no_auth_user` a client need not send CONNECT first; some server lines still call the callout.
pub(super) async fn ends_without_connect(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    let guest = "{ user: guest, password: g }, { user: watch-APP";
    site.server = site.server.replace("{ user: watch-APP", guest);
    let server = server(&site, version, "no_auth_user: guest").await;
    let asked = Arc::new(AtomicBool::new(false));
    let was_asked = Arc::clone(&asked);
    let _hand = ManualCallout::start(&site, &server, move |asked| {
        was_asked.store(true, Ordering::SeqCst);
        let mut user = asked.user(&json!({}));
        user["exp"] = json!(asked.claims["iat"].as_i64().expect("a time") + 2);
        asked.sealed(&asked.answer(&asked.signed(&user)))
    })
    .await;
    let (mut stream, answer) = pinging(&server).await;
    assert!(answer.starts_with("PONG"), "{answer}");
    if !asked.load(Ordering::SeqCst) {
        return Outcome::absent(
            "this server line admits the client as `no_auth_user` without calling Callgate",
        );
    }
    let told = loop {
        let line = line(&mut stream).await;
        if line.is_empty() || line.starts_with("-ERR") {
            break line;
        }
    };
    assert!(told.contains("User Authentication Expired"), "{told}");
    Outcome::passed(["the client is admitted", "it receives `User Authentication Expired`"])
}

pub(super) async fn late_decision(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    site.server = site.server.replace("timeout: 5", "timeout: 1");
    let server = server(&site, version, "").await;
    let service = Library::start(&site, &server, async |_request: Arc<AuthRequest>| {
        std::future::pending::<Result<User, Refusal>>().await
    })
    .await;
    let login = Login::password("patient", "x");
    assert!(options(&site, &login).connect(server.url()).await.is_err());
    eventually("a decision", PATIENCE, async || (!service.reasons().is_empty()).then_some(()))
        .await;
    let reasons = service.reasons();
    let late = [Reason::DeadlinePassed, Reason::BackendUnavailable];
    assert!(late.contains(&reasons[0]), "{reasons:?}");
    Outcome::passed(["the client is refused, and the decision has the reason"])
}
