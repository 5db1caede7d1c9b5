//! What a server tells a client about itself, and who else answers.

use std::{collections::HashMap, time::Duration};

use async_nats::Client;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::{AUTH_SUBJECT, ServeError, micro};
use crate::subject::SubjectPattern;

/// How long a server may take to say who we are.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who we are, as the server sees it (`$SYS.REQ.USER.INFO`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAccount {
    /// The account: a name in configuration mode, a public key in operator mode.
    pub account: String,
    /// In operator mode its name, from servers that say it: 2.12 and later do.
    pub account_name: Option<String>,
    /// Whether we may ourselves publish requests, and so make them up.
    pub may_forge_requests: bool,
    /// Whether we may subscribe to requests. A server tells a client that it may not by an error that
    /// only the client's event callback sees: the subscription stays open, and nothing ever arrives.
    ///
    /// The server does not tell for which queue groups a rule is: a deny rule for one counts as one
    /// for all, and an allow rule too.
    pub may_answer_requests: bool,
}

#[derive(Deserialize)]
struct Info {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    account: String,
    #[serde(default)]
    account_name: Option<String>,
    #[serde(default)]
    permissions: Option<Permissions>,
}

#[derive(Deserialize, Default)]
struct Permissions {
    #[serde(default)]
    publish: Option<Side>,
    #[serde(default)]
    subscribe: Option<Side>,
}

/// One direction. nats-server reads an absent or empty `allow` as "everything".
#[derive(Deserialize, Default)]
struct Side {
    #[serde(default)]
    allow: Option<Vec<String>>,
    #[serde(default)]
    deny: Option<Vec<String>>,
}

/// Asks the server who we are. An answer also proves that all that this client sent before has
/// been worked on, subscriptions among it: accepted if [`OwnAccount::may_answer_requests`], or refused.
///
/// # Errors
/// If no server answers in time.
pub async fn own_account(client: &Client) -> Result<OwnAccount, ServeError> {
    let not_confirmed = |error: String| ServeError::NotConfirmed(error);
    let answer = timeout(PATIENCE, client.request("$SYS.REQ.USER.INFO", "".into()))
        .await
        .map_err(|_| not_confirmed("no answer in time".to_owned()))?
        .map_err(|error| not_confirmed(error.to_string()))?;
    let info: Info = serde_json::from_slice(&answer.payload)
        .map_err(|_| not_confirmed("the answer is not the JSON that servers send".to_owned()))?;
    let Data { account, account_name, permissions } = info.data;
    let Permissions { publish, subscribe } = permissions.unwrap_or_default();
    Ok(OwnAccount {
        account,
        account_name,
        may_forge_requests: reaches_requests(&publish),
        may_answer_requests: reaches_requests(&subscribe),
    })
}

fn reaches_requests(side: &Option<Side>) -> bool {
    let Some(Side { allow, deny }) = side else { return true };
    let auth: Option<SubjectPattern> = AUTH_SUBJECT.parse().ok();
    let reaches = |list: &Option<Vec<String>>| {
        list.iter()
            .flatten()
            .filter_map(|text| text.parse::<SubjectPattern>().ok())
            .any(|pattern| auth.as_ref().is_some_and(|auth| pattern.covers(auth)))
    };
    let allows = allow.as_ref().is_none_or(Vec::is_empty) || reaches(allow);
    allows && !reaches(deny)
}

#[derive(Deserialize)]
struct ServiceInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    queue_group: String,
}

/// Other micro services that answer authorization requests, by name and queue group. In another queue
/// group than `queue` each request is answered twice. Callgates in `queue` are no others.
pub async fn other_responders(
    client: &Client,
    queue: &str,
    wait: Duration,
) -> Vec<(String, String)> {
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return Vec::new() };
    if client.publish_with_reply("$SRV.INFO", inbox, "".into()).await.is_err() {
        return Vec::new();
    }
    let until = Instant::now() + wait;
    let mut found = HashMap::new();
    while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
        let Ok(info) = serde_json::from_slice::<ServiceInfo>(&answer.payload) else { continue };
        for endpoint in info.endpoints {
            let ours = endpoint.queue_group == queue && info.name == micro::NAME;
            if endpoint.subject == AUTH_SUBJECT && !ours {
                found.insert((info.name.clone(), endpoint.queue_group), ());
            }
        }
    }
    let mut found: Vec<_> = found.into_keys().collect();
    found.sort();
    found
}
