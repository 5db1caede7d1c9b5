//! `[admin]`.

use std::net::{Ipv4Addr, SocketAddr};

use callgate_config::{Key, Table, Type};

use super::flags::Overrides;

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "listen",
        Type::Named("address", &Type::Text),
        "`/livez`, `/readyz`, `/metrics`. `localhost:8280` is loopback, `:8280` is all interfaces (IPv4), `\"\"` \
         disables it. Changes take effect after a restart",
    )
    .or("\"127.0.0.1:8280\""),
];

pub(super) fn read(
    root: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> Option<SocketAddr> {
    let is_present = root.has("admin");
    let mut table = if is_present { root.table("admin")? } else { root.empty("admin") };
    let in_file = table.string("listen");
    if in_file.is_some() && overrides.admin_listen.is_some() {
        overridden.push("admin.listen".to_owned());
    }
    let text = overrides.admin_listen.clone().or(in_file);
    let text = text.unwrap_or_else(|| "127.0.0.1:8280".to_owned());
    let address = match text.as_str() {
        "" => None,
        text => listener(text).or_else(|| {
            let shown = text.escape_debug();
            table.fault(
                "listen",
                format!(
                    "`{shown}` is not an address: write one such as \"127.0.0.1:8280\", or \"\" for none"
                ),
            );
            None
        }),
    };
    table.finish();
    address
}

/// Parses an address. `localhost` is the loopback address regardless of the hosts file; an empty host is
/// all interfaces.
fn listener(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let ip = match host.to_ascii_lowercase().as_str() {
        "localhost" => Ipv4Addr::LOCALHOST,
        "" => Ipv4Addr::UNSPECIFIED,
        _ => return None,
    };
    Some(SocketAddr::from((ip, port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_address_accepts_localhost_and_empty_host() {
        for (text, expected) in [
            ("127.0.0.1:8280", Some("127.0.0.1:8280")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:8280", Some("127.0.0.1:8280")),
            ("LocalHost:0", Some("127.0.0.1:0")),
            (":8280", Some("0.0.0.0:8280")),
            ("8280", None),
            ("localhost", None),
            ("localhost:", None),
            (":65536", None),
            ("example.org:80", None),
            ("::1", None),
        ] {
            let address = listener(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }
}
