//! Credentials that do not fit into one protocol line.

use async_nats::Client;
use callgate::record::Reason;
use callgate_testkit::{NatsServer, nats_server::Version};

use super::{
    config,
    library::{Library, by_token},
    server,
};
use crate::{
    clients::{Login, options},
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

/// A bearer token with many groups.
const TOKEN_BYTES: usize = 5_000;

pub(super) async fn too_long(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let login = Login::token(&"t".repeat(TOKEN_BYTES));
    let connect = async |server: &NatsServer| -> Option<Client> {
        options(&site, &login).connect(server.url()).await.ok()
    };
    let mut server = server(&site, version, "").await;
    let service = Library::start(&site, &server, by_token).await;
    assert!(connect(&server).await.is_none(), "4096 bytes are the default");
    server.wait_for_log("maximum control line exceeded").await;
    assert_eq!(service.reasons(), [], "Callgate received a request");
    server.reload(&config(&site, "max_control_line: 16KB")).await;
    assert!(connect(&server).await.is_some());
    assert_eq!(service.reasons(), [Reason::Admitted]);
    Outcome::passed([
        "Callgate receives no request, and the server log says why",
        "`max_control_line` helps, after a reload",
    ])
}
