//! Lists the connections of all servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    AccountNames, Connection, ConnzFilter, Listing, ServerId, ServersAnswered, Unavailable,
    servers::Census,
    wire::{self, Listed, Page, Stats},
};

/// Connections per page. The server's answer is not bound by `max_payload`.
pub(super) const PAGE: usize = 4096;
/// No server needs so long for one answer; one that is silent for this time does not answer.
const PATIENCE: Duration = Duration::from_millis(1000);
/// The longest that a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// The account whose name a server leaves out, as it does for pending logins.
const GLOBAL_ACCOUNT: &str = "$G";

/// What to list.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// What the servers call the account.
    pub(super) account: Option<String>,
    pub(super) user: Option<String>,
    pub(super) page: usize,
}

impl Query {
    pub(super) fn of(filter: &ConnzFilter, accounts: &AccountNames) -> Self {
        let account = filter.account.as_deref();
        Self {
            account: account.map(|name| accounts.id(name).to_owned()),
            user: filter.user.clone(),
            page: PAGE,
        }
    }

    /// Closed connections are not listed (`state`), and the oldest come first.
    fn body(&self, offset: usize) -> Bytes {
        let mut body = json!({
            "auth": true, "state": 0, "sort": "cid", "limit": self.page, "offset": offset,
        });
        let filters = [("acc", &self.account), ("user", &self.user)];
        for (key, value) in filters {
            if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                body.insert(key.to_owned(), json!(value));
            }
        }
        body.to_string().into()
    }
}

/// The answer of one server.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) id: ServerId,
    pub(super) name: Arc<str>,
    /// Whether the list has leaf nodes.
    pub(super) lists_leaf_nodes: bool,
    pub(super) connections: Vec<Listed>,
}

/// What the servers answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) stats: Vec<Stats>,
    pub(super) servers: Vec<Answered>,
}

/// Asks all servers, until as many as there are have answered, or no more answers arrive.
pub(super) async fn ask(client: &Client, query: &Query) -> Result<Answers, Unavailable> {
    let mut stats = broadcast(client, "$SYS.REQ.SERVER.PING", Bytes::new()).await?;
    let mut pages = broadcast(client, "$SYS.REQ.SERVER.PING.CONNZ", query.body(0)).await?;
    let mut answers = Answers::default();
    let mut reading = FuturesUnordered::new();
    let end = Instant::now() + LIST_TIMEOUT;
    let mut silent = Instant::now() + PATIENCE;
    while !answers.all_there() {
        tokio::select! {
            Some(message) = stats.next() => {
                answers.stats.extend(wire::parse(message.payload).await.ok());
            }
            Some(message) = pages.next() => {
                reading.push(all_pages(client, query, message.payload));
            }
            Some(answered) = reading.next(), if !reading.is_empty() => {
                answers.servers.extend(answered);
            }
            () = sleep_until(end.min(silent)) => break,
        }
        silent = Instant::now() + PATIENCE;
    }
    match answers.stats.is_empty() && answers.servers.is_empty() {
        true => Err(Unavailable::NoServer("no answer in time".to_owned())),
        false => Ok(answers),
    }
}

/// Asks all servers only who they are.
pub(super) async fn ping(client: &Client) -> Result<Vec<Stats>, Unavailable> {
    let mut messages = broadcast(client, "$SYS.REQ.SERVER.PING", Bytes::new()).await?;
    let mut answers = Answers::default();
    while !answers.all_counted()
        && let Ok(Some(message)) = timeout(PATIENCE, messages.next()).await
    {
        answers.stats.extend(wire::parse(message.payload).await.ok());
    }
    Ok(answers.stats)
}

async fn broadcast(
    client: &Client,
    subject: &'static str,
    body: Bytes,
) -> Result<Subscriber, Unavailable> {
    let failed = |error: &dyn std::error::Error| Unavailable::NoServer(error.to_string());
    let inbox = client.new_inbox();
    let answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let sent = client.publish_with_reply(subject, inbox, body).await;
    sent.map_err(|error| failed(&error))?;
    Ok(answers)
}

impl Answers {
    /// Whether as many servers were counted as each of them knows.
    fn all_counted(&self) -> bool {
        let active = self.stats.iter().map(|stats| stats.statsz.active_servers).max();
        let counted: BTreeSet<_> =
            self.stats.iter().filter_map(|stats| stats.server.id()).collect();
        let routed = self.stats.iter().flat_map(|stats| stats.statsz.routes.iter().flatten());
        let named: BTreeSet<_> =
            self.stats.iter().map(|stats| stats.server.name.as_str()).collect();
        active.is_some_and(|active| counted.len() >= active)
            && routed.into_iter().all(|route| named.contains(route.name.as_str()))
    }

    fn all_there(&self) -> bool {
        let listed: BTreeSet<_> = self.servers.iter().map(|server| server.id).collect();
        let counted = self.stats.iter().filter_map(|stats| stats.server.id());
        self.all_counted() && counted.into_iter().all(|id| listed.contains(&id))
    }
}

/// Reads the pages of one server to the end; `None` if it stops answering.
async fn all_pages(client: &Client, query: &Query, first: Bytes) -> Option<Answered> {
    let page: Page = wire::parse(first).await.ok()?;
    let server = page.server.clone();
    let id = server.id()?;
    let subject = format!("$SYS.REQ.SERVER.{id}.CONNZ");
    let mut pages = Pages::of(query.page);
    let mut next = pages.add(0, page.into_connections());
    while let Some(offset) = next {
        let request = client.request(subject.clone(), query.body(offset));
        let message = timeout(PATIENCE * 2, request).await.ok()?.ok()?;
        let page: Page = wire::parse(message.payload).await.ok()?;
        next = pages.add(offset, page.into_connections());
    }
    Some(Answered {
        id,
        lists_leaf_nodes: server.lists_leaf_nodes(),
        name: server.name.into(),
        connections: pages.connections.into_values().collect(),
    })
}

/// The pages of one server. Connections that end meanwhile move later ones forward, so each page begins with
/// the last connection of the page before; if it does not, a page further ahead is read again.
#[derive(Debug)]
struct Pages {
    /// The length of a page.
    page: usize,
    connections: BTreeMap<u64, Listed>,
    /// The ID up to which no connection is missing.
    seamless_to: Option<u64>,
}

impl Pages {
    fn of(page: usize) -> Self {
        Self { page, connections: BTreeMap::new(), seamless_to: None }
    }

    /// Adds the page at an offset; returns the offset of the next one, or `None` if this one had nothing
    /// new. The server's `total` does not help: it ignores a filter by user.
    fn add(&mut self, offset: usize, page: Vec<Listed>) -> Option<usize> {
        let first = page.first().map(|listed| listed.cid);
        let last = page.last().map(|listed| listed.cid);
        let joins = offset == 0 || first.is_some_and(|first| Some(first) <= self.seamless_to);
        if !joins {
            return Some(offset.saturating_sub((self.page / 2).max(1)));
        }
        if last <= self.seamless_to {
            return None;
        }
        let next = offset + page.len().saturating_sub(1);
        self.seamless_to = last;
        self.connections.extend(page.into_iter().map(|listed| (listed.cid, listed)));
        Some(next)
    }
}

/// Turns answers into a listing, without the accounts that nothing may touch.
pub(super) fn listing(
    servers: Vec<Answered>,
    filter: &ConnzFilter,
    census: &Census,
    untouchable: &BTreeSet<String>,
    accounts: &AccountNames,
) -> Listing {
    let answered: BTreeSet<&str> = servers.iter().map(|server| &*server.name).collect();
    let mut missing = census.missing.clone();
    missing
        .extend(census.answered.values().filter(|name| !answered.contains(name.as_str())).cloned());
    let mut listing = Listing {
        servers: ServersAnswered {
            expected: census.expected.max(servers.len()),
            answered: servers.len(),
            is_counted: !census.answered.is_empty(),
            missing: missing.into_iter().collect(),
        },
        ..Listing::default()
    };
    for Answered { id, name, lists_leaf_nodes: _, connections } in servers {
        for listed in connections {
            if untouchable.contains(&listed.account) {
                continue;
            }
            let has_account = !listed.account.is_empty();
            if !has_account && untouchable.contains(GLOBAL_ACCOUNT) {
                continue;
            }
            let connection = listed.into_connection(id, &name, accounts);
            match has_account {
                _ if !matches(filter, &connection, has_account) => {}
                true => listing.connections.push(connection),
                false => listing.without_account.push(connection),
            }
        }
    }
    listing
}

/// Older servers ignore some filters.
pub(super) fn matches(filter: &ConnzFilter, connection: &Connection, has_account: bool) -> bool {
    filter.user.as_ref().is_none_or(|user| *user == connection.user)
        && (!has_account
            || filter.account.as_ref().is_none_or(|account| **account == *connection.account))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's list, of which connections end while it is read.
    fn read(page: usize, mut open: Vec<u64>, end_after_first_page: &[u64]) -> Vec<u64> {
        let mut pages = Pages::of(page);
        let mut next = Some(0);
        while let Some(offset) = next {
            let listed = open.iter().skip(offset).take(page);
            let listed: Vec<Listed> =
                listed.map(|cid| serde_json::from_value(json!({ "cid": cid })).unwrap()).collect();
            next = pages.add(offset, listed);
            open.retain(|cid| !end_after_first_page.contains(cid));
        }
        pages.connections.into_keys().collect()
    }

    #[test]
    fn connections_that_end_between_pages_hide_no_others() {
        for total in [0_u64, 1, 2, 3, 4, 7, 8, 9, 40] {
            let all: Vec<u64> = (1..=total).collect();
            for page in [2, 3, 4, 8] {
                assert_eq!(read(page, all.clone(), &[]), all, "{total} by {page}");
                for ended in 1..=total {
                    let ended: Vec<u64> = (1..=ended).collect();
                    let found = read(page, all.clone(), &ended);
                    let left = all.iter().filter(|cid| !ended.contains(cid));
                    assert!(
                        left.clone().all(|cid| found.contains(cid)),
                        "{total} by {page}: {found:?}"
                    );
                }
                let found = read(page, all.clone(), &[total]);
                assert!(found.len() + 1 >= all.len(), "{total} by {page}: {found:?}");
            }
        }
    }
}
