use std::time::Duration;

use callgate::{connection::ConnectionKind, permissions::PermissionList, secret::Secret};
use serde_json::json;

use super::*;
use crate::{directory::credentials::CredentialKind, passwords::DummyKey};

fn entry() -> Entry {
    Entry::unreadable("alice", 7)
}

fn full() -> Entry {
    let mut templates = PermissionTemplates::default();
    templates.add(PermissionList::PublishAllow, "u.{{ user }}.>").unwrap();
    let digest = CredentialDigest::of(&DummyKey::random(), CredentialKind::Password, "alice", b"x");
    let permissions = Permissions {
        publish: Rules {
            allow: vec!["a.>".parse().unwrap(), "b.*".parse().unwrap()],
            deny: vec!["a.secret".parse().unwrap()],
        },
        subscribe: Rules {
            allow: vec!["jobs.* workers".parse().unwrap(), "_INBOX.>".parse().unwrap()],
            deny: vec![],
        },
        responses: Some(Responses { max: None, ttl: Some(Duration::from_nanos(1_500_000_001)) }),
    };
    Entry {
        user: "alice ünder \"quote\"".to_owned(),
        groups: vec!["ops".to_owned(), String::new()],
        claims: json!({ "site": "b1", "n": [1, 2.5] }).as_object().unwrap().clone(),
        password: None,
        clear_text_digest: Some(digest),
        token: Some([9; 32]),
        nkey: Some(nkey().parse().unwrap()),
        totp: None,
        disabled: false,
        faulty: false,
        expires: Some(UnixTime::from_seconds(-5)),
        proposal: Proposal {
            origin: Origin::Operator,
            account: Some("APP".to_owned()),
            roles: Some(vec![]),
            permissions: Some(permissions),
            templates: Some(Arc::new(templates)),
            source: Some(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]),
            connection_types: Some(
                [ConnectionKind::Mqtt, ConnectionKind::LeafNode].into_iter().collect(),
            ),
            expires_after: Some(Duration::from_secs(3600)),
            unrestricted_if_alone: true,
        },
        fingerprint: u64::MAX,
        version: 1 << 40,
    }
}

fn nkey() -> String {
    let pair = callgate::keys::KeyPair::generate(callgate::keys::KeyKind::User).unwrap();
    pair.public_key()
}

/// Packs and unpacks an entry, and asserts that nothing changed.
fn round_trip(entry: &Entry) {
    let mut shelf = Shelf::default();
    let bytes = pack(entry, &mut shelf);
    let packed = PackedEntry::new(&bytes, &shelf);
    assert_eq!(format!("{:?}", packed.unpack().unwrap()), format!("{entry:?}"));
    assert_eq!(packed.unpack().unwrap().proposal, entry.proposal);
    assert_eq!(packed.user(), entry.user);
    assert_eq!(packed.fingerprint(), entry.fingerprint);
    assert_eq!(packed.token(), entry.token);
    assert_eq!(packed.nkey(), entry.nkey.as_ref().map(UserKey::as_str));
    assert_eq!(packed.cost(), entry.password.as_ref().map(|password| password.cost()));
}

#[test]
fn every_field_survives_packing() {
    round_trip(&entry());
    round_trip(&full());
    round_trip(&Entry { proposal: Proposal::default(), ..full() });
}

#[test]
fn passwords_of_every_kind_survive_packing() {
    for text in [
        "clear",
        "$argon2id$v=19$m=64,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA",
        "$2b$04$ieAKwI9B3Zv9OuCNxR52Ne.Pg1CrXCQzT95ldDFWjM7AnHe9Z5gFq",
        "$pbkdf2-sha256$100$RiillFLqHcOY03rvHUMIAQ$R3PDX82fZy.rtqtw4XzqY/O2svS0Sil0IAt.xKlODC4",
        "$scrypt$ln=4,r=8,p=1$RiillFLqHcOY03rvHUMIAQ$R3PDX82fZy.rtqtw4XzqY/O2svS0Sil0IAt.xKlODC4",
    ] {
        let password = StoredPassword::parse(text).unwrap();
        let entry = Entry { password: Some(Arc::new(password.clone())), ..full() };
        round_trip(&entry);
        let mut shelf = Shelf::default();
        let bytes = pack(&entry, &mut shelf);
        let unpacked = PackedEntry::new(&bytes, &shelf).unpack().unwrap();
        let unpacked = unpacked.password.unwrap();
        assert_eq!(password_bytes(&unpacked), password_bytes(&password));
        let right: Secret = "clear".into();
        let mut scratch = crate::passwords::Scratch::default();
        assert_eq!(unpacked.verify(&right, &mut scratch), text == "clear");
    }
}

#[test]
fn equal_templates_of_neighbours_are_kept_once() {
    let mut shelf = Shelf::default();
    for _ in 0..3 {
        pack(&full(), &mut shelf);
    }
    assert_eq!(shelf.templates.len(), 1);
}

#[test]
fn truncated_bytes_are_no_entry() {
    let mut shelf = Shelf::default();
    let bytes = pack(&full(), &mut shelf);
    for length in 0..bytes.len() {
        let truncated = PackedEntry::new(bytes.get(..length).unwrap(), &shelf);
        assert!(truncated.unpack().is_none(), "{length}");
    }
}

#[test]
fn ordinary_entry_takes_less_than_its_text() {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA";
    let permissions = Permissions {
        publish: Rules { allow: vec!["u.user-123456.>".parse().unwrap()], deny: vec![] },
        subscribe: Rules { allow: vec!["_INBOX.>".parse().unwrap()], deny: vec![] },
        responses: None,
    };
    let entry = Entry {
        user: "user-123456".to_owned(),
        password: Some(Arc::new(StoredPassword::parse(hash).unwrap())),
        proposal: Proposal {
            account: Some("APP".to_owned()),
            permissions: Some(permissions),
            ..Proposal::default()
        },
        ..entry()
    };
    let length = pack(&entry, &mut Shelf::default()).len();
    assert!(length < 150, "{length}");
}
