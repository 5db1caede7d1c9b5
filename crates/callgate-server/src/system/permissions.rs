//! What the user of `[system]` may do: enough, and not more.

use async_nats::Client;
use callgate::responder::missing_permissions;

use super::{
    SessionKey, events,
    kick::{self, KickError},
};

/// What the user must be permitted to publish.
pub(crate) const PUBLISHES: [&str; 5] = [
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.*.CONNZ",
    "$SYS.REQ.SERVER.*.KICK",
    "$SYS.REQ.USER.INFO",
];
/// What the user must be permitted to subscribe to.
pub(crate) const SUBSCRIBES: [&str; 4] =
    ["_INBOX.>", events::SUBJECTS[0], events::SUBJECTS[1], events::SUBJECTS[2]];
/// No user needs this: it would read every event and change servers.
const TOO_WIDE: &str = "$SYS.>";

/// What a login of `[system]` can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// What does not work, with what to do.
    pub(crate) problems: Vec<String>,
    /// What works but should not.
    pub(crate) warnings: Vec<String>,
}

/// Reads the user's permissions, and tries to close a connection that cannot exist.
pub(crate) async fn examine(client: &Client) -> Abilities {
    let mut abilities = Abilities::default();
    let wanted = [&PUBLISHES[..], &SUBSCRIBES]
        .map(|subjects| subjects.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    let [publish, subscribe] = &wanted;
    match missing_permissions(client, publish, subscribe).await {
        Ok(missing) => {
            let publish = missing.publish.iter().map(|subject| format!("publish `{subject}`"));
            let subscribe =
                missing.subscribe.iter().map(|subject| format!("subscribe `{subject}`"));
            let missing: Vec<_> = publish.chain(subscribe).collect();
            if !missing.is_empty() {
                abilities.problems.push(format!(
                    "the system user has no permission to {}: see `docs/revocation.md`",
                    missing.join(", ")
                ));
            }
        }
        Err(error) => {
            abilities.problems.push(format!("cannot read the system user's permissions: {error}"))
        }
    }
    let wide = [TOO_WIDE.to_owned()];
    if let Ok(missing) = missing_permissions(client, &wide, &wide).await
        && (missing.publish.is_empty() || missing.subscribe.is_empty())
    {
        abilities.warnings.push(format!(
            "the system user may use `{TOO_WIDE}`, which includes requests that change servers: allow it \
             only what `docs/revocation.md` lists"
        ));
    }
    if abilities.problems.is_empty()
        && let Err(problem) = try_kick(client).await
    {
        abilities.problems.push(problem);
    }
    abilities
}

async fn try_kick(client: &Client) -> Result<(), String> {
    let server = client.server_info().server_id;
    let server = server.parse().map_err(|_| "the server reports no usable ID".to_owned())?;
    match kick::request(client, SessionKey { server, client_id: 0 }).await {
        Ok(_) => Ok(()),
        Err(KickError::NoServer) => Err(
            "the server does not take requests from this user: `[system]` must log in to the system account"
                .to_owned(),
        ),
        Err(error) => Err(format!("the system user cannot close connections: {error}")),
    }
}
