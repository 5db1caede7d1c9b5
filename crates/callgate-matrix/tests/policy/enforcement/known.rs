//! What is known about nats-server and looks like a mistake: noticed here on the day it changes.

use callgate::permissions::{Access, Permissions, Responses, Rules};
use callgate_testkit::nats_server::{Version, installed_versions};

use crate::{
    site::{Book, Site},
    wire::{Wire, publish, publish_with_reply, subscribe},
};

fn rules<T>(allow: &[&str], deny: &[&str]) -> Rules<T>
where
    T: std::str::FromStr<Err: std::fmt::Debug>,
{
    let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Rules { allow: parse(allow), deny: parse(deny) }
}

fn hears(allow: &[&str], deny: &[&str]) -> Permissions {
    Permissions { subscribe: rules(allow, deny), ..Permissions::default() }
}

/// What a client with these permissions gets of what is published, over one subscription; `None`
/// if the subscription is refused.
async fn heard(
    version: Version,
    permissions: Permissions,
    wanted: &str,
    published: &[&str],
) -> Option<Vec<String>> {
    let book = Book::default();
    book.write("ear", permissions);
    let site = Site::with_book(&version.to_string(), &book).await;
    let mut wire = Wire::connect(&site.server, "ear").await;
    if !wire.ask_one(subscribe(wanted, 1)).await.errors.is_empty() {
        return None;
    }
    let mut admin = Wire::connect(&site.server, "admin").await;
    admin.ask_one(published.iter().map(|subject| publish(subject, "")).collect()).await;
    let messages = wire.fence().await.messages;
    Some(messages.into_iter().map(|message| message.subject).collect())
}

/// Every version: an allow of `foo.*` takes a subscription to `foo.>`, and all of it is delivered.
#[tokio::test]
async fn allow_with_trailing_star_covers_longer_subjects() {
    for version in installed_versions() {
        let permissions = hears(&["foo.*"], &[]);
        let verdict = Access::Limited(permissions.clone()).can_subscribe(&"foo.>".parse().unwrap());
        assert!(
            verdict.allowed && verdict.rule.contains("more broadly than written"),
            "{verdict:?}"
        );
        let heard =
            heard(version, permissions.clone(), "foo.>", &["foo.a", "foo.a.b", "bar"]).await;
        assert_eq!(heard.unwrap(), ["foo.a", "foo.a.b"], "{version}");
        let narrow = heard_one(version, permissions, "foo.a.b").await;
        assert!(!narrow, "{version}: `foo.a.b` itself was refused so far");
    }
}

async fn heard_one(version: Version, permissions: Permissions, wanted: &str) -> bool {
    heard(version, permissions, wanted, &[]).await.is_some()
}

/// (allow, deny, subscription, published, which versions deliver it although the deny covers it)
type Bypass = (&'static str, &'static str, &'static str, &'static str, fn(Version) -> bool);

/// A deny could be bypassed on nats-server before 2.11.16, 2.12.7 and 2.14.0.
#[tokio::test]
async fn known_deny_bypasses_work_in_listed_versions() {
    let before_the_fix = |version: Version| match (version.minor, version.patch) {
        (..=10, _) => true,
        (11, patch) => patch < 16,
        (12, patch) => patch < 7,
        _ => false,
    };
    let before_2_14 = |version: Version| version.minor < 14;
    let never = |_| false;
    let table: [Bypass; 5] = [
        ("a.>", "a.secret", "a.>", "a.secret", never),
        ("a.>", "a.secret.>", "a.*.x", "a.secret.x", before_the_fix),
        ("a.>", "*.secret", "a.>", "a.secret", before_the_fix),
        ("a.>", "a.secret crew", "a.> crew", "a.secret", before_2_14),
        ("a.>", "a.secret >", "a.> crew", "a.secret", before_2_14),
    ];
    for version in installed_versions() {
        for (allow, deny, wanted, published, expected) in table {
            let heard = heard(version, hears(&[allow], &[deny]), wanted, &[published]).await;
            let got_around = !heard.expect("the subscription is open").is_empty();
            assert_eq!(got_around, expected(version), "{version}: {wanted} under deny {deny}");
        }
    }
}

/// `responses` opens the reply subject of what arrived, once, also against a deny; and nothing else.
#[tokio::test]
async fn responses_permit_only_received_reply_subjects() {
    for version in installed_versions() {
        let book = Book::default();
        book.write(
            "worker",
            Permissions {
                publish: rules(&["out.a"], &["out.denied"]),
                subscribe: rules(&["in.>"], &[]),
                responses: Some(Responses::default()),
            },
        );
        let site = Site::with_book(&version.to_string(), &book).await;
        let mut worker = Wire::connect(&site.server, "worker").await;
        let mut admin = Wire::connect(&site.server, "admin").await;
        let said = worker.ask(&[publish("out.denied", ""), subscribe("in.>", 1)]).await;
        assert!(!said[0].errors.is_empty() && said[1].errors.is_empty(), "{version}: {said:?}");

        admin.ask_one(publish_with_reply("in.job", "out.denied", "")).await;
        assert_eq!(worker.fence().await.messages.len(), 1, "{version}");
        let commands = ["out.other", "out.denied", "out.denied"].map(|to| publish(to, ""));
        let said = worker.ask(&commands).await;
        let open: Vec<bool> = said.iter().map(|said| said.errors.is_empty()).collect();
        assert_eq!(open, [false, true, false], "{version}: {said:?}");
    }
}
