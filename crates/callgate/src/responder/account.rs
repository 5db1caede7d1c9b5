//! What a server reports about our own connection, and other responders.

use std::{collections::BTreeSet, time::Duration};

use async_nats::Client;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::{AUTH_SUBJECT, ServeError, micro};
use crate::subject::SubjectPattern;

/// How long a server may take to report our account.
const INFO_TIMEOUT: Duration = Duration::from_secs(3);

/// Our own connection, as the server sees it (`$SYS.REQ.USER.INFO`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAccount {
    /// The account: a name in configuration mode, a public key in operator mode.
    pub account: String,
    /// In operator mode its name, which servers report since 2.12.
    pub account_name: Option<String>,
    /// Whether we are permitted to publish requests ourselves, and so could forge them.
    pub may_forge_requests: bool,
    /// Whether we are permitted to subscribe to requests. If not, only the event callback of the client
    /// sees the server's error: the subscription stays open, and nothing ever arrives.
    ///
    /// The server does not report the queue groups of a rule: a rule for one counts for all.
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

/// Requests our own account from the server. The answer also proves that the server has processed
/// everything that this client sent before, including subscriptions: they are accepted if
/// [`OwnAccount::may_answer_requests`], else refused.
///
/// # Errors
/// If no server answers in time.
pub async fn own_account(client: &Client) -> Result<OwnAccount, ServeError> {
    let Data { account, account_name, permissions } = user_info(client).await?;
    let Permissions { publish, subscribe } = permissions.unwrap_or_default();
    Ok(OwnAccount {
        account,
        account_name,
        may_forge_requests: permits(&publish, AUTH_SUBJECT),
        may_answer_requests: permits(&subscribe, AUTH_SUBJECT),
    })
}

/// Those of these subjects that our own connection is not permitted to publish and to subscribe to.
///
/// A server drops what is not permitted, and the publisher only sees a request without an answer.
///
/// # Errors
/// If no server answers in time.
pub async fn missing_permissions<'s>(
    client: &Client,
    publish: &'s [String],
    subscribe: &'s [String],
) -> Result<MissingPermissions<'s>, ServeError> {
    let granted = user_info(client).await?.permissions.unwrap_or_default();
    let missing = |wanted: &'s [String], side: &Option<Side>| -> Vec<&'s str> {
        wanted.iter().map(String::as_str).filter(|subject| !permits(side, subject)).collect()
    };
    Ok(MissingPermissions {
        publish: missing(publish, &granted.publish),
        subscribe: missing(subscribe, &granted.subscribe),
    })
}

/// Subjects that our own connection is not permitted to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingPermissions<'s> {
    /// Subjects that it cannot publish.
    pub publish: Vec<&'s str>,
    /// Subjects that it cannot subscribe to.
    pub subscribe: Vec<&'s str>,
}

async fn user_info(client: &Client) -> Result<Data, ServeError> {
    let not_confirmed = |error: String| ServeError::NotConfirmed(error);
    let answer = timeout(INFO_TIMEOUT, client.request("$SYS.REQ.USER.INFO", "".into()))
        .await
        .map_err(|_| not_confirmed("no answer in time".to_owned()))?
        .map_err(|error| not_confirmed(error.to_string()))?;
    let info: Info = serde_json::from_slice(&answer.payload)
        .map_err(|_| not_confirmed("the answer is not the expected JSON".to_owned()))?;
    Ok(info.data)
}

/// Whether a side permits everything that `subject` matches.
fn permits(side: &Option<Side>, subject: &str) -> bool {
    let Some(Side { allow, deny }) = side else { return true };
    let Ok(subject) = subject.parse::<SubjectPattern>() else { return false };
    let reaches = |list: &Option<Vec<String>>| {
        list.iter()
            .flatten()
            .filter_map(|text| text.parse::<SubjectPattern>().ok())
            .any(|pattern| pattern.covers(&subject))
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

/// Other micro services that answer authorization requests, by name and queue group. In a queue group
/// other than `queue` they answer each request a second time. Callgates in `queue` are not included.
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
    let deadline = Instant::now() + wait;
    let mut found = BTreeSet::new();
    while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
        let Ok(info) = serde_json::from_slice::<ServiceInfo>(&answer.payload) else { continue };
        for endpoint in info.endpoints {
            let ours = endpoint.queue_group == queue && info.name == micro::NAME;
            if endpoint.subject == AUTH_SUBJECT && !ours {
                found.insert((info.name.clone(), endpoint.queue_group));
            }
        }
    }
    found.into_iter().collect()
}
