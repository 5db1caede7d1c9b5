//! When things end.

use std::{sync::Arc, time::Duration};

use async_nats::Event;
use callgate::{Refusal, User, decision::Reason, request::AuthRequest};
use callgate_testkit::{eventually, nats_server::Version, wait::PATIENCE};
use tokio::{sync::mpsc, time::timeout};

use super::{library::Library, server};
use crate::{
    clients::{Login, options},
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

pub(super) async fn session_ends(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _gate = Library::start(&site, &server, async |_request: Arc<AuthRequest>| {
        Ok(User::in_account("APP").named("short").unrestricted().expires_in(Duration::from_secs(2)))
    })
    .await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let login = Login::password("short", "x");
    let _client = options(&site, &login)
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
    Outcome::passed(["the client is told `User Authentication Expired`"])
}

pub(super) async fn late_decision(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    site.server = site.server.replace("timeout: 5", "timeout: 1");
    let server = server(&site, version, "").await;
    let gate = Library::start(&site, &server, async |_request: Arc<AuthRequest>| {
        std::future::pending::<Result<User, Refusal>>().await
    })
    .await;
    let login = Login::password("patient", "x");
    assert!(options(&site, &login).connect(server.url()).await.is_err());
    eventually("a decision", PATIENCE, async || (!gate.reasons().is_empty()).then_some(())).await;
    let reasons = gate.reasons();
    let late = [Reason::DeadlinePassed, Reason::BackendUnavailable];
    assert!(late.contains(&reasons[0]), "{reasons:?}");
    Outcome::passed(["the client is refused, and the decision says why"])
}
