//! Who gives an order.

use std::{fmt, fs};

use callgate::sanitize::excerpt;

/// The user of a command, as the kernel reports it, and the name that the user claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    name: String,
    claimed: Option<String>,
}

impl Actor {
    /// The user with this uid.
    pub(crate) fn of_uid(uid: u32, claimed: Option<&str>) -> Self {
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = name_of(&accounts, uid).map_or_else(|| format!("uid {uid}"), excerpt);
        Self { name, claimed: claimed.map(excerpt).filter(|claimed| !claimed.is_empty()) }
    }
}

/// As in `root`, or `root (claims to be `alice`)`.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.claimed {
            Some(claimed) => write!(f, " (claims to be `{claimed}`)"),
            None => Ok(()),
        }
    }
}

/// The name of a uid in the text of `/etc/passwd`.
fn name_of(accounts: &str, uid: u32) -> Option<&str> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let its_uid: u32 = fields.nth(1)?.parse().ok()?;
        (its_uid == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_named_by_the_uid_of_the_peer() {
        const ACCOUNTS: &str =
            "root:x:0:0::/root:/bin/sh\n# comment\nbroken:x\nalice:x:1000:1000:::\n";
        for (uid, name) in [(0, Some("root")), (1000, Some("alice")), (7, None)] {
            assert_eq!(name_of(ACCOUNTS, uid), name);
        }
    }

    #[test]
    fn claimed_name_is_marked_and_escaped() {
        let actor = Actor { name: "root".to_owned(), claimed: None };
        assert_eq!(actor.to_string(), "root");
        let actor = Actor::of_uid(4_000_000_000, Some("bob\n"));
        assert_eq!(actor.to_string(), "uid 4000000000 (claims to be `bob\\n`)");
    }
}
