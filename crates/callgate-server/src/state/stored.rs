//! The JSON form of values of a target and a lock.

use std::net::IpAddr;

use callgate::{clock::UnixTime, connection::ConnectionKind};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(super) fn read_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    Some(network.trunc())
}

/// A network of one as its address.
pub(super) fn show_network(network: IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

pub(super) fn read_time(text: &str) -> Option<UnixTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(UnixTime::from_seconds(time.as_second()))
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer)
}

pub(super) mod network {
    use super::{Deserializer, Error, IpNet, Serializer, read_network, show_network, text};

    pub(crate) fn serialize<S: Serializer>(
        network: &Option<IpNet>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&network.map(show_network).unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<IpNet>, D::Error> {
        let text = text(deserializer)?;
        read_network(&text).map(Some).ok_or_else(|| D::Error::custom("not a network"))
    }
}

pub(super) mod kind {
    use super::{ConnectionKind, Deserializer, Error, Serializer, text};

    pub(crate) fn serialize<S: Serializer>(
        kind: &Option<ConnectionKind>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.map(ConnectionKind::as_str).unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ConnectionKind>, D::Error> {
        text(deserializer)?.parse().map(Some).map_err(D::Error::custom)
    }
}

pub(super) mod time {
    use super::{Deserializer, Error, Serializer, UnixTime, read_time, text};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<UnixTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.map(|time| time.to_string()).unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixTime>, D::Error> {
        let text = text(deserializer)?;
        read_time(&text).map(Some).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}
