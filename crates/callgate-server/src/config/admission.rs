//! `[admission]`.

use callgate_config::{Key, Table, Type, schema::NETWORKS};
use ipnet::IpNet;

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "max_in_flight",
        Type::Integer(1, 1_000_000),
        "requests in progress at a time; further ones are refused immediately (`overloaded`). A source, or an \
         authenticator that has to wait, gets at most eight ninths of what the others leave \
         ([fairness](operations.md#fairness))",
    )
    .or("1024"),
    Key::optional(
        "password_workers",
        Type::Integer(1, 1024),
        "threads that hash passwords. Changes to this and `max_in_flight` take effect after a restart",
    )
    .or_else("number of cores"),
    Key::optional(
        "trusted_proxies",
        NETWORKS,
        "addresses shared by many users; behind them, each user counts as a separate source",
    ),
];

/// `[admission]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) max_in_flight: u32,
    pub(crate) password_workers: usize,
    pub(crate) trusted_proxies: Vec<IpNet>,
}

pub(super) fn read(root: &mut Table<'_>) -> Admission {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut admission =
        Admission { max_in_flight: 1024, password_workers: cores, trusted_proxies: Vec::new() };
    let Some(mut table) = root.table("admission") else { return admission };
    if let Some(max) = table.integer("max_in_flight", 1..=1_000_000) {
        admission.max_in_flight = u32::try_from(max).unwrap_or(admission.max_in_flight);
    }
    if let Some(workers) = table.integer("password_workers", 1..=1024) {
        admission.password_workers = usize::try_from(workers).unwrap_or(cores);
    }
    // Unlike other lists of networks, this one may be empty.
    if table.raw("trusted_proxies").is_some_and(|item| !item.items().is_empty()) {
        admission.trusted_proxies = table.networks("trusted_proxies").unwrap_or_default();
    }
    table.finish();
    admission
}
