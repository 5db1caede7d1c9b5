//! Answers that slapd does not give.

mod connections;
mod schemas;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{
    authn::{Authenticator, Decline, Identity},
    record::Reason,
    request::AuthRequest,
};
use callgate_testkit::{
    eventually,
    ldap::{LdapResponder, Reply, Seen, bind_result, entry, reference, search_done},
};
use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::time::Instant;

use super::{
    PATIENCE, build, chain, context, link, login, password, probe, rejected, try_build, unavailable,
};
use crate::kind::BuildContext;

const ALICE: &str = "uid=alice,ou=people,dc=x";
const SERVICE: &str = "cn=svc,dc=x";

/// Attributes and their values.
type Attributes<'a> = &'a [(&'a str, &'a [&'a [u8]])];

fn one(operation: Vec<u8>) -> Reply {
    Reply::Messages(vec![operation])
}

/// Finds alice, and accepts every bind.
fn usual(request: &Seen) -> Reply {
    match request {
        Seen::Bind(..) => one(bind_result(0, "", &[])),
        Seen::Search(base, _) if base.is_empty() => {
            Reply::Messages(vec![entry("", &[("objectClass", &[b"top"])]), search_done(0)])
        }
        Seen::Search(..) => {
            Reply::Messages(vec![entry(ALICE, &[("uid", &[b"alice"])]), search_done(0)])
        }
        Seen::Extended | Seen::Other(_) => Reply::Close,
    }
}

/// As [`usual`], but a bind as a user is answered with `reply`.
fn binds(reply: Reply) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |request| match request {
        Seen::Bind(name, _) if name != SERVICE => reply.clone(),
        other => usual(other),
    }
}

/// As [`usual`], but a search for a user is answered with `reply`.
fn finds(reply: Reply) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |request| match request {
        Seen::Search(base, _) if !base.is_empty() => reply.clone(),
        other => usual(other),
    }
}

fn toml(url: &str, more: &str) -> String {
    format!(
        "url = {url}\nbase = \"dc=x\"\nbind_dn = \"{SERVICE}\"\nbind_password = \"canary-svc\"\n\
         connect_timeout = \"20s\"\n{more}"
    )
}

fn ldap_at(urls: &str, more: &str) -> Arc<dyn Authenticator> {
    build(&toml(urls, more))
}

/// An authenticator without groups.
fn ldap(responder: &LdapResponder) -> Arc<dyn Authenticator> {
    ldap_at(&format!("\"{}\"", responder.url()), "groups.from = \"none\"")
}

/// The names and passwords of the binds, without those of the service account.
fn user_binds(responder: &LdapResponder) -> Vec<(String, String)> {
    let binds = responder.seen().into_iter().filter_map(|seen| match seen {
        Seen::Bind(name, password) if name != SERVICE => Some((name, password)),
        _ => None,
    });
    binds.collect()
}

#[tokio::test]
async fn ldap_empty_password_never_reaches_the_directory() {
    let responder = LdapResponder::start(usual).await;
    for more in ["groups.from = \"none\"", "bind_as"] {
        let ldap = match more {
            "bind_as" => build(&format!(
                "url = \"{}\"\nbase = \"dc=x\"\nbind_as = \"uid={{user}},ou=people,dc=x\"\n\
                 groups.from = \"none\"",
                responder.url()
            )),
            more => ldap_at(&format!("\"{}\"", responder.url()), more),
        };
        for (user, secret) in
            [("alice", ""), ("", "x"), ("", ""), ("alice", "x\0y"), ("al\0ice", "x")]
        {
            rejected(&ldap, user, secret).await;
        }
        assert_eq!(rejected(&ldap, "alice", "").await, Reason::BadPassword);
        assert_eq!(rejected(&ldap, "", "x").await, Reason::BadPassword);
    }
    assert_eq!(responder.connections(), 0);
}

/// The directory claims that an entry without a name, or outside the base, is the user: a bind as the
/// former is anonymous and succeeds with any password.
#[tokio::test]
async fn entries_that_cannot_be_the_user_are_not_bound_as() {
    for (dn, attributes, why) in [
        ("", &[("uid", &[&b"alice"[..]][..])][..], "is not below `base`"),
        ("uid=alice,dc=y", &[("uid", &[b"alice"])], "is not below `base`"),
        ("alice", &[("uid", &[b"alice"])], "has a malformed DN"),
        (ALICE, &[], "has 0 values of `uid`"),
        (ALICE, &[("uid", &[b"alice", b"root"])], "has 2 values of `uid`"),
        (ALICE, &[("uid", &[b"\xff"])], "is not text"),
        (ALICE, &[("uid", &[b"alice"]), ("memberOf;range=0-1499", &[b"cn=a"])], "has more values"),
    ] {
        let found = Reply::Messages(vec![entry(dn, attributes), search_done(0)]);
        let responder = LdapResponder::start(finds(found)).await;
        let error = unavailable(&ldap(&responder), "alice", "canary").await;
        assert!(error.contains(why), "{dn}: {error}");
        assert_eq!(user_binds(&responder), [], "{dn}");
    }
}

#[tokio::test]
async fn ldap_name_cannot_add_an_rdn_to_the_bind_dn() {
    let responder = LdapResponder::start(binds(one(bind_result(49, "", &[])))).await;
    let ldap = build(&format!(
        "url = \"{}\"\nbase = \"dc=x\"\nbind_as = \"uid={{user}},ou=people,dc=x\"\ngroups.from = \"none\"",
        responder.url()
    ));
    for user in ["x,ou=admins", "x\\", "x+cn=y", "x;ou=admins", "*", "x)(uid=*"] {
        assert_eq!(rejected(&ldap, user, "canary").await, Reason::BadPassword, "{user}");
        let (bound, _) = user_binds(&responder).pop().unwrap();
        let bound: crate::ldap_client::Dn = bound.parse().unwrap();
        assert!(bound.is_child_of(&"ou=people,dc=x".parse().unwrap()), "{bound:?}");
        assert_eq!(bound.own_value("uid"), Some(user));
    }
}

#[tokio::test]
async fn direct_bind_must_find_the_entry_that_it_bound_as() {
    let responder = LdapResponder::start(usual).await;
    let with = |name: &str| {
        build(&format!(
            "url = \"{}\"\nbase = \"dc=x\"\nbind_as = \"{name}\"\ngroups.from = \"none\"",
            responder.url()
        ))
    };
    let ldap = with("UID={user},ou=People,dc=x");
    assert_eq!(login(&ldap, "alice", "canary").await.unwrap().user, "alice");
    let error = unavailable(&ldap, "bob", "canary").await;
    assert!(error.contains("another entry"), "{error}");
    let ldap = with("{user}@corp.example");
    assert_eq!(rejected(&ldap, "alice@evil", "canary").await, Reason::UnknownUser);
    assert_eq!(login(&ldap, "alice", "canary").await.unwrap().user, "alice");
    let bound: Vec<_> = user_binds(&responder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(bound, ["UID=alice,ou=People,dc=x", "UID=bob,ou=People,dc=x", "alice@corp.example"]);
    // The connection of a direct bind is never used again.
    assert_eq!(responder.connections(), 3);
}

#[tokio::test]
async fn verified_password_never_falls_through() {
    let responder = LdapResponder::start(finds(one(search_done(0)))).await;
    let mut context = context();
    context.chain.is_followed = true;
    let with = |name: &str| {
        let toml = format!(
            "url = \"{}\"\nbase = \"dc=x\"\nbind_as = \"{name}\"\ngroups.from = \"none\"\n\
             fall_through = true",
            responder.url()
        );
        try_build(&toml, &context).unwrap()
    };
    // The bind succeeds, and then there is no entry.
    let ldap = with("uid={user},ou=people,dc=x");
    assert_eq!(rejected(&ldap, "alice", "canary").await, Reason::UnknownUser);
    // A name that is not sent may belong to another authenticator.
    let ldap = with("{user}@corp.example");
    assert!(matches!(login(&ldap, "a@other", "canary").await, Err(Decline::NotMine)));
    assert_eq!(user_binds(&responder).len(), 1);
}

#[tokio::test]
async fn ldap_sends_no_password_byte_without_starttls() {
    let ca = tempfile::NamedTempFile::new().unwrap();
    let authority = callgate_testkit::oidc_provider::Authority::new("responder");
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let injected = [
        callgate_testkit::ldap::message(1, b"\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
        callgate_testkit::ldap::message(2, &bind_result(0, "", &[])),
    ];
    for reply in [
        one(b"\x78\x07\x0a\x01\x02\x04\x00\x04\x00".to_vec()),
        one(b"\x78\x07\x0a\x01\x34\x04\x00\x04\x00".to_vec()),
        Reply::Close,
        one(bind_result(0, "", &[])),
        Reply::Raw(b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        // Success, and then the answer to a bind that was never sent.
        Reply::Raw(injected.concat()),
        // Success, but no TLS.
        one(b"\x78\x07\x0a\x01\x00\x04\x00\x04\x00".to_vec()),
    ] {
        let shown = format!("{reply:?}");
        let responder = LdapResponder::start(move |request| match request {
            Seen::Extended => reply.clone(),
            // The start of a TLS handshake is not an LDAP message.
            other => usual(other),
        })
        .await;
        let more = format!("connect_timeout = \"1s\"\ntls.ca = \"{}\"", ca.path().display());
        let toml = toml(&format!("\"{}\"", responder.url()), &more);
        let ldap = build(&toml.replace("connect_timeout = \"20s\"\n", ""));
        unavailable(&ldap, "alice", "canary").await;
        let plain = responder.seen().iter().all(|seen| match seen {
            Seen::Extended => true,
            Seen::Other(bytes) => !String::from_utf8_lossy(bytes).contains("canary"),
            Seen::Bind(..) | Seen::Search(..) => false,
        });
        assert!(plain, "{shown}: {:?}", responder.seen());
        assert!(responder.seen().contains(&Seen::Extended), "{shown}");
    }
}

#[tokio::test]
async fn ldap_referrals_are_never_followed() {
    let elsewhere = LdapResponder::start(usual).await;
    let url = format!("{}/dc=x", elsewhere.url());
    let referral = {
        let mut result = bind_result(10, &url, &[]);
        // Referral, as the server adds it to a result: [3] with one URL.
        let urls = [&[4, u8::try_from(url.len()).unwrap()], url.as_bytes()].concat();
        result.extend([&[0xa3, u8::try_from(urls.len()).unwrap()], urls.as_slice()].concat());
        let length = u32::try_from(result.len() - 6).unwrap();
        result[2..6].copy_from_slice(&length.to_be_bytes());
        result
    };
    let responder = LdapResponder::start(binds(one(referral))).await;
    unavailable(&ldap(&responder), "alice", "canary").await;
    assert_eq!(user_binds(&responder).len(), 1);
    // A reference next to the entry is ignored, one in its place is no entry.
    for (found, expected) in [
        (vec![reference(&url), entry(ALICE, &[("uid", &[b"alice"])]), search_done(0)], true),
        (vec![reference(&url), search_done(0)], false),
    ] {
        let responder = LdapResponder::start(finds(Reply::Messages(found))).await;
        let ldap = ldap(&responder);
        match expected {
            true => assert_eq!(login(&ldap, "alice", "canary").await.unwrap().user, "alice"),
            false => assert_eq!(rejected(&ldap, "alice", "canary").await, Reason::UnknownUser),
        }
    }
    let responder =
        LdapResponder::start(finds(Reply::Messages(vec![reference(&url), search_done(10)]))).await;
    unavailable(&ldap(&responder), "alice", "canary").await;
    assert_eq!(elsewhere.connections(), 0);
}

/// Counts the passwords that it sees.
#[derive(Debug, Default)]
struct Next(AtomicUsize);

impl Authenticator for Next {
    fn authenticate<'a>(
        &'a self,
        _request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Identity::of_user("impostor")) })
    }
}

#[tokio::test]
async fn ldap_outage_never_asks_the_next_authenticator() {
    let outages = [
        Reply::Close,
        Reply::Silence,
        Reply::Raw(b"garbage".to_vec()),
        // The beginning of success.
        Reply::Cut(callgate_testkit::ldap::message(1, &bind_result(0, "", &[]))[..9].to_vec()),
        one(bind_result(51, "busy", &[])),
        one(bind_result(52, "unavailable", &[])),
        one(bind_result(1, "operations error", &[])),
        one(search_done(0)),
    ];
    for reply in outages {
        let responder = LdapResponder::start(binds(reply.clone())).await;
        let mut context: BuildContext = context();
        context.chain.is_followed = true;
        let more = "fall_through = true\ngroups.from = \"none\"";
        let ldap = try_build(&toml(&format!("\"{}\"", responder.url()), more), &context).unwrap();
        let next = Arc::new(Next::default());
        let timeout = Duration::from_secs(2);
        let chain = chain(vec![link("ldap", ldap, timeout), link("next", next.clone(), timeout)]);
        let answer = chain.identify(&password("alice", "canary")).await;
        let denial = answer.result.unwrap_err();
        assert_eq!(denial.reason, Reason::BackendUnavailable, "{reply:?}");
        assert_eq!(next.0.load(Ordering::SeqCst), 0, "{reply:?}");
    }
    // An unknown name is the only thing that passes.
    let responder = LdapResponder::start(finds(one(search_done(0)))).await;
    let mut context = context();
    context.chain.is_followed = true;
    let toml = toml(&format!("\"{}\"", responder.url()), "fall_through = true");
    let ldap = try_build(&toml, &context).unwrap();
    assert!(matches!(login(&ldap, "bob", "canary").await, Err(Decline::NotMine)));
}

#[tokio::test]
async fn errors_of_a_search_are_unavailable() {
    for code in [1, 2, 3, 10, 11, 32, 50, 51, 52, 53, 80] {
        let responder = LdapResponder::start(finds(one(search_done(code)))).await;
        let error = unavailable(&ldap(&responder), "alice", "canary").await;
        assert!(error.contains(&format!("code {code}")), "{error}");
        assert_eq!(user_binds(&responder), []);
    }
}

#[tokio::test]
async fn ldap_garbage_ends_at_the_timeout_and_frees_memory() {
    let megabyte = vec![0x41; 1 << 20];
    let nested: Vec<u8> =
        [0x30, 0x84, 0, 0, 0xff, 0xff].iter().copied().cycle().take(1 << 18).collect();
    let many = |size: usize| {
        let entry = callgate_testkit::ldap::message(2, &entry(ALICE, &[("x", &[&vec![7; size]])]));
        Reply::Endless(entry.clone(), entry)
    };
    for reply in [
        Reply::Raw(vec![0xff; 64]),
        Reply::Endless(vec![0xff; 64], vec![0xff; 1 << 16]),
        // A message of two gigabytes, of which more and more arrives.
        Reply::Endless(b"\x30\x84\x7f\xff\xff\xff".to_vec(), megabyte.clone()),
        Reply::Endless(b"\x30\x84\x00\x0f\xff\xff".to_vec(), b"x".to_vec()),
        Reply::Endless(nested.clone(), nested),
        many(100),
        many(200_000),
        Reply::Raw(b"\x30\x80".to_vec()),
        Reply::Raw(b"\x30\x84\x00".to_vec()),
        Reply::Cut(b"\x30\x84\x00\x00\x01\x00half".to_vec()),
    ] {
        let shown: String = format!("{reply:?}").chars().take(60).collect();
        let responder = LdapResponder::start(finds(reply)).await;
        let ldap = ldap(&responder);
        let timeout = Duration::from_secs(2);
        let chain = chain(vec![link("ldap", ldap, timeout)]);
        let answer = chain.identify(&password("alice", "canary")).await;
        assert_eq!(answer.result.unwrap_err().reason, Reason::BackendUnavailable, "{shown}");
        eventually("closed connections", PATIENCE, async || (responder.open() == 0).then_some(()))
            .await;
        // What was sent is what the kernel buffers, and at most one answer.
        assert!(responder.sent() < 16 << 20, "{shown}: {}", responder.sent());
    }
}

#[tokio::test]
async fn late_answers_are_never_taken_for_those_of_another_login() {
    // The first bind as a user is not answered, and the answer to it would be success.
    let binds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&binds);
    let responder = LdapResponder::start(move |request| match request {
        Seen::Bind(name, _) if name != SERVICE => match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Silence,
            _ => one(bind_result(49, "", &[])),
        },
        other => usual(other),
    })
    .await;
    let ldap = ldap(&responder);
    let hurried = password("alice", "canary-1").due_at(Instant::now() + Duration::from_millis(300));
    assert!(matches!(ldap.authenticate(&hurried).await, Err(Decline::Unavailable(_))));
    assert_eq!(rejected(&ldap, "alice", "canary-2").await, Reason::BadPassword);
    let seen = responder.seen_by_connection();
    let user_binds: Vec<_> = seen
        .iter()
        .filter(|(_, seen)| matches!(seen, Seen::Bind(name, _) if name != SERVICE))
        .map(|(connection, _)| *connection)
        .collect();
    assert_eq!(user_binds.len(), 2);
    assert_ne!(user_binds[0], user_binds[1], "{seen:?}");
}

#[tokio::test]
async fn answers_that_belong_to_no_request_are_refused() {
    // A second message after the result: the connection is not used again.
    let twice = Reply::Messages(vec![bind_result(49, "", &[]), bind_result(0, "", &[])]);
    let responder = LdapResponder::start(binds(twice)).await;
    let ldap = ldap(&responder);
    for number in 0..3 {
        let answer = rejected(&ldap, "alice", &format!("canary-{number}")).await;
        assert_eq!(answer, Reason::BadPassword);
    }
    // An answer with another number.
    let wrong = Reply::Raw(callgate_testkit::ldap::message(99, &bind_result(0, "", &[])));
    let responder = LdapResponder::start(binds(wrong)).await;
    unavailable(&self::ldap(&responder), "alice", "canary").await;
}

#[tokio::test]
async fn refused_service_account_is_unavailable() {
    let responder = LdapResponder::start(|request| match request {
        Seen::Bind(..) => one(bind_result(49, "invalid credentials", &[])),
        other => usual(other),
    })
    .await;
    let ldap = ldap(&responder);
    let error = unavailable(&ldap, "alice", "canary").await;
    assert!(error.contains("service account") && error.contains("code 49"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let error = probe(&ldap).await.unwrap_err();
    assert!(error.contains("service account"), "{error}");
    assert_eq!(user_binds(&responder), []);
}

#[tokio::test]
async fn unknown_users_take_as_long_as_a_wrong_password() {
    const DELAY: Duration = Duration::from_millis(150);
    let found = Arc::new(Mutex::new(true));
    let is_found = Arc::clone(&found);
    let responder = LdapResponder::start(move |request| match request {
        Seen::Bind(name, _) if name != SERVICE => {
            // The responder is slow.
            std::thread::sleep(DELAY);
            one(bind_result(49, "", &[]))
        }
        Seen::Search(..) if !*is_found.lock().unwrap() => one(search_done(0)),
        other => usual(other),
    })
    .await;
    let ldap = ldap(&responder);
    rejected(&ldap, "alice", "canary").await;
    *found.lock().unwrap() = false;
    let started = Instant::now();
    assert_eq!(rejected(&ldap, "bob", "canary").await, Reason::UnknownUser);
    assert!(started.elapsed() >= DELAY, "{:?}", started.elapsed());
}
