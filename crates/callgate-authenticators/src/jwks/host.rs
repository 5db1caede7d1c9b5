//! A host that may serve the keys of an issuer.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use callgate::sanitize::excerpt_up_to;

use crate::http_client::HttpUrl;

/// A host in `jwks_hosts`: one port of it, or all ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHost {
    /// As in a URL: lower case, an IPv6 address in brackets.
    host: String,
    port: Option<u16>,
}

/// A text that is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host: write `keys.example.com`, or `keys.example.com:8443` for a single port"
)]
pub struct HostError(String);

impl KeyHost {
    /// True if the URL is on this host, and on the port if there is one.
    pub fn serves(&self, url: &HttpUrl) -> bool {
        self.host == url.host() && self.port.is_none_or(|port| url.port() == Some(port))
    }
}

impl FromStr for KeyHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = || HostError(excerpt_up_to(text, 100));
        if text.contains(['/', '\\', '?', '#', '@', '*']) || text.contains(char::is_whitespace) {
            return Err(wrong());
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self {
                host: normalized(&format!("[{text}]")).ok_or_else(wrong)?,
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            Some(_) | None => (text, None),
        };
        Ok(Self { host: normalized(host).ok_or_else(wrong)?, port })
    }
}

/// The host in the spelling of URLs, so that spellings of the same host are equal.
fn normalized(host: &str) -> Option<String> {
    let url = HttpUrl::parse(&format!("https://{host}/"), false).ok()?;
    // A colon outside of brackets would start a second port.
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    (!host.contains(':') || is_bracketed).then(|| url.host().to_owned())
}

impl fmt::Display for KeyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text, true).unwrap()
    }

    #[test]
    fn host_without_port_serves_on_every_port() {
        for (host, serves, not) in [
            ("keys.example", "https://keys.example:8443/x", "https://keys.example.evil/"),
            ("Keys.Example:8443", "https://keys.example:8443/x", "https://keys.example/x"),
            ("keys.example:443", "https://keys.example/", "http://keys.example/"),
            ("keys.example:80", "http://keys.example/", "https://keys.example/"),
            ("münchen.example", "https://xn--mnchen-3ya.example/", "https://munchen.example/"),
            ("127.0.0.1:81", "http://127.0.0.1:81/", "http://127.0.0.1:82/"),
            ("::1", "https://[::1]:9/", "https://[::2]/"),
            ("[::1]", "https://[::1]/", "https://[::2]/"),
            ("[::1]:9", "https://[::1]:9/", "https://[::1]/"),
        ] {
            let host: KeyHost = host.parse().unwrap();
            assert!(host.serves(&url(serves)), "{host} {serves}");
            assert!(!host.serves(&url(not)), "{host} {not}");
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        for text in [
            "",
            "https://keys.example",
            "https://keys.example/",
            "keys.example/jwks",
            "keys.example:https",
            "keys.example:",
            "keys.example:99999",
            ":8443",
            "a:1:2",
            "[::1]:443:9",
            "user@keys.example",
            "*.example",
            "keys example",
            "keys.example?x",
        ] {
            assert!(text.parse::<KeyHost>().is_err(), "{text}");
        }
    }
}
