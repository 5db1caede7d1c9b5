//! The subjects that JetStream macros allow, and those that they never allow.

use super::*;
use crate::policy::settings::{BucketAccess, BucketSettings, StreamAccess, StreamSettings};

fn stream(name: &str, access: StreamAccess) -> StreamSettings {
    StreamSettings { name: name.into(), access, consumer: None, subjects: Vec::new(), domain: None }
}

fn bucket(name: &str, access: BucketAccess) -> BucketSettings {
    BucketSettings { bucket: name.into(), access, domain: None }
}

fn granted(change: impl FnOnce(&mut RoleSettings)) -> Grant {
    let policy = policy(|p| {
        let mut role = RoleSettings { inbox: Inbox::Private, ..RoleSettings::default() };
        change(&mut role);
        p.roles.insert("one".into(), role);
        p.bindings.push(bind(&["one"]));
    });
    Scene::new().resolve(&policy, &claims("u", json!({"t": "acme"}))).unwrap()
}

#[track_caller]
fn assert_can(grant: &Grant, yes: &[&str], no: &[&str]) {
    for (subjects, expected) in [(yes, true), (no, false)] {
        for subject in subjects {
            let verdict = grant.access().can_publish(&subject.parse().unwrap());
            assert_eq!(verdict.allowed, expected, "{subject}: {}", verdict.rule);
        }
    }
}

const ACK_V1: &str = "$JS.ACK.S.C.1.2.3.1700000000.4";
const ACK_V2: &str = "$JS.ACK._.hAsH.S.C.1.2.3.1700000000.4.rnd";

#[test]
fn consume_allows_consumers_of_its_stream_only() {
    let grant = granted(|r| r.streams.push(stream("S", StreamAccess::Consume)));
    let yes = [
        "$JS.API.STREAM.INFO.S",
        "$JS.API.STREAM.NAMES",
        "$JS.API.INFO",
        "$JS.API.CONSUMER.CREATE.S",
        "$JS.API.CONSUMER.CREATE.S.C",
        "$JS.API.CONSUMER.CREATE.S.C.orders.new",
        "$JS.API.CONSUMER.DURABLE.CREATE.S.C",
        "$JS.API.CONSUMER.INFO.S.C",
        "$JS.API.CONSUMER.NAMES.S",
        "$JS.API.CONSUMER.LIST.S",
        "$JS.API.CONSUMER.MSG.NEXT.S.C",
        "$JS.API.CONSUMER.DELETE.S.C",
        ACK_V1,
        ACK_V2,
        "$JS.FC.S.C.rnd",
        "$JS.FC._.hAsH.S.C.rnd",
    ];
    let no = [
        "$JS.API.STREAM.INFO.T",
        "$JS.API.CONSUMER.CREATE.T",
        "$JS.API.CONSUMER.CREATE.T.C",
        "$JS.API.CONSUMER.MSG.NEXT.T.C",
        "$JS.ACK.T.C.1.2.3.4.5",
        "$JS.ACK._.hAsH.T.C.1.2.3.4.5.6",
        "$JS.API.STREAM.PURGE.S",
        "$JS.API.STREAM.UPDATE.S",
        "$JS.API.STREAM.MSG.DELETE.S",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.CREATE.S",
    ];
    assert_can(&grant, &yes, &no);
    assert_eq!(subscribes(&grant), ["_INBOX_u.>"]);
}

#[test]
fn named_consumer_allows_only_pulling_from_it() {
    let grant = granted(|r| {
        r.streams.push(StreamSettings {
            consumer: Some("C".into()),
            ..stream("S", StreamAccess::Consume)
        });
    });
    let yes = [
        "$JS.API.STREAM.INFO.S",
        "$JS.API.CONSUMER.INFO.S.C",
        "$JS.API.CONSUMER.MSG.NEXT.S.C",
        ACK_V1,
        ACK_V2,
    ];
    let no = [
        "$JS.API.CONSUMER.CREATE.S",
        "$JS.API.CONSUMER.CREATE.S.C",
        "$JS.API.CONSUMER.DELETE.S.C",
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.MSG.NEXT.S.D",
        "$JS.ACK.S.D.1.2.3.4.5",
    ];
    assert_can(&grant, &yes, &no);
}

#[test]
fn publish_manage_and_configure_allow_their_subjects() {
    let publish = granted(|r| {
        r.streams.push(StreamSettings {
            subjects: texts(&["orders.{{ claims.t }}.>"]),
            ..stream("S", StreamAccess::Publish)
        });
    });
    assert_eq!(publishes(&publish), ["orders.acme.>"]);
    let manage = granted(|r| r.streams.push(stream("S", StreamAccess::Manage)));
    let manages = ["$JS.API.STREAM.PURGE.S", "$JS.API.STREAM.MSG.DELETE.S", ACK_V1];
    assert_can(&manage, &manages, &["$JS.API.STREAM.UPDATE.S", "$JS.API.STREAM.DELETE.S"]);
    let configure = granted(|r| r.streams.push(stream("S", StreamAccess::Configure)));
    let configures =
        ["$JS.API.STREAM.CREATE.S", "$JS.API.STREAM.UPDATE.S", "$JS.API.STREAM.DELETE.S"];
    assert_can(&configure, &configures, &["$JS.API.STREAM.UPDATE.T"]);
}

#[test]
fn bucket_access_levels_allow_their_subjects() {
    let read = granted(|r| r.kv.push(bucket("b", BucketAccess::Read)));
    let reads = [
        "$JS.API.STREAM.INFO.KV_b",
        "$JS.API.DIRECT.GET.KV_b",
        "$JS.API.DIRECT.GET.KV_b.$KV.b.key",
        "$JS.API.STREAM.MSG.GET.KV_b",
        "$JS.API.CONSUMER.CREATE.KV_b.x.$KV.b.key",
        "$JS.API.CONSUMER.DELETE.KV_b.x",
        "$JS.FC.KV_b.x.y",
        "$JS.API.INFO",
    ];
    let others = [
        "$KV.b.key",
        "$KV.c.key",
        "$JS.API.STREAM.PURGE.KV_b",
        "$JS.API.DIRECT.GET.KV_c",
        "$JS.API.STREAM.NAMES",
    ];
    assert_can(&read, &reads, &others);
    let write = granted(|r| r.kv.push(bucket("b", BucketAccess::Write)));
    assert_can(&write, &["$KV.b.key", "$KV.b.a.b"], &["$KV.c.key", "$JS.API.STREAM.UPDATE.KV_b"]);
    let admin = granted(|r| r.kv.push(bucket("b", BucketAccess::Admin)));
    assert_can(
        &admin,
        &["$JS.API.STREAM.UPDATE.KV_b", "$KV.b.key"],
        &["$JS.API.STREAM.UPDATE.KV_c"],
    );
    let objects = granted(|r| r.objects.push(bucket("f", BucketAccess::Write)));
    let stores = ["$O.f.C.n", "$O.f.M.n", "$JS.API.STREAM.PURGE.OBJ_f", "$JS.API.STREAM.NAMES"];
    assert_can(&objects, &stores, &["$O.g.C.n", "$JS.API.STREAM.PURGE.OBJ_g"]);
    let looks = granted(|r| r.objects.push(bucket("f", BucketAccess::Read)));
    assert_can(
        &looks,
        &["$JS.API.STREAM.MSG.GET.OBJ_f"],
        &["$O.f.C.n", "$JS.API.STREAM.PURGE.OBJ_f"],
    );
}

#[test]
fn domain_adds_its_own_subjects() {
    let grant = granted(|r| {
        r.streams.push(StreamSettings {
            domain: Some("hub".into()),
            ..stream("S", StreamAccess::Consume)
        });
        r.kv.push(BucketSettings {
            domain: Some("hub".into()),
            ..bucket("b", BucketAccess::Write)
        });
    });
    // A server of that domain rewrites the first form to the second before it checks permissions.
    let yes = [
        "$JS.hub.API.STREAM.INFO.S",
        "$JS.API.STREAM.INFO.S",
        ACK_V1,
        "$JS.hub.API.$KV.b.key",
        "$KV.b.key",
        "$JS.hub.API.DIRECT.GET.KV_b.x",
        "$JS.API.DIRECT.GET.KV_b.x",
    ];
    let no = ["$JS.other.API.STREAM.INFO.S", "$JS.hub.API.STREAM.INFO.T", "$JS.hub.API.$KV.c.key"];
    assert_can(&grant, &yes, &no);
}

/// The number of tokens tells the two forms apart.
#[test]
fn stream_name_never_allows_foreign_acknowledgements() {
    for name in ["hub", "7"] {
        let grant = granted(|r| r.streams.push(stream(name, StreamAccess::Consume)));
        let yes = [
            format!("$JS.ACK.{name}.C.1.2.3.4.5"),
            format!("$JS.ACK._.hash.{name}.C.1.2.3.4.5"),
            format!("$JS.ACK.hub.hash.{name}.C.1.2.3.4.5.rnd"),
            format!("$JS.FC.{name}.C.x"),
            format!("$JS.FC.hub.hash.{name}.C.x"),
        ];
        let no = [
            "$JS.ACK.T.C.7.2.3.4.5",
            "$JS.ACK.hub.hash.T.C.7.2.3.4.5.rnd",
            "$JS.ACK._.hash.T.C.7.2.3.4.5.rnd",
            "$JS.FC.hub.hash.T.C.x",
        ];
        assert_can(&grant, &yes.each_ref().map(String::as_str), &no);
    }
}

#[test]
fn names_may_be_templates() {
    let grant = granted(|r| r.kv.push(bucket("t-{{ claims.t }}", BucketAccess::Write)));
    assert_can(&grant, &["$KV.t-acme.k", "$JS.API.STREAM.INFO.KV_t-acme"], &["$KV.t-other.k"]);
}

#[test]
fn invalid_macros_are_errors() {
    type Change = fn(&mut RoleSettings);
    let table: [(&str, Change); 8] = [
        ("literal token", |r| r.streams.push(stream("*", StreamAccess::Consume))),
        ("literal token", |r| r.streams.push(stream("a.b", StreamAccess::Manage))),
        ("literal token", |r| r.kv.push(bucket("", BucketAccess::Read))),
        ("literal token", |r| r.objects.push(bucket("a b", BucketAccess::Read))),
        ("`subjects`", |r| r.streams.push(stream("S", StreamAccess::Publish))),
        ("`consumer`", |r| {
            r.streams.push(StreamSettings {
                consumer: Some("C".into()),
                ..stream("S", StreamAccess::Manage)
            });
        }),
        ("domain", |r| {
            r.kv.push(BucketSettings {
                domain: Some("a.b".into()),
                ..bucket("b", BucketAccess::Read)
            });
        }),
        ("inbox", |r| {
            r.inbox = Inbox::None;
            r.kv.push(bucket("b", BucketAccess::Read));
        }),
    ];
    for (expected, change) in table {
        let built = Policy::build(settings(|p| {
            let mut role = RoleSettings { inbox: Inbox::Private, ..RoleSettings::default() };
            change(&mut role);
            p.roles.insert("one".into(), role);
        }));
        let faults = built.unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{expected}: {faults:?}") };
        assert!(fault.message.contains(expected), "{expected}: {fault}");
    }
    // An explicit inbox allow works as well.
    let own = granted(|r| {
        r.inbox = Inbox::None;
        r.subscribe = allow(&["_INBOX_x.>"]);
        r.kv.push(bucket("b", BucketAccess::Read));
    });
    assert_eq!(subscribes(&own), ["_INBOX_x.>"]);
}

#[test]
fn configure_access_causes_a_warning() {
    let policy = policy(|p| {
        let role = RoleSettings {
            inbox: Inbox::Private,
            streams: vec![stream("S", StreamAccess::Configure)],
            kv: vec![bucket("b", BucketAccess::Admin), bucket("c", BucketAccess::Write)],
            ..RoleSettings::default()
        };
        p.roles.insert("one".into(), role);
    });
    let paths: Vec<_> = policy
        .warnings()
        .iter()
        .filter(|warning| warning.message.contains("whole account"))
        .map(|warning| warning.path.as_str())
        .collect();
    assert_eq!(paths, ["roles.one.kv[0]", "roles.one.streams[0]"]);
}

#[test]
fn reach_of_publish_and_bucket_permissions_causes_warnings() {
    let warned = |change: fn(&mut RoleSettings)| -> Vec<String> {
        let policy = policy(|p| {
            let mut role = RoleSettings { inbox: Inbox::Private, ..RoleSettings::default() };
            change(&mut role);
            p.roles.insert("one".into(), role);
        });
        let reach = |message: &str| message.contains("account of their own");
        let warnings = policy.warnings().iter().filter(|warning| reach(&warning.message));
        warnings.map(|warning| warning.path.clone()).collect()
    };
    let config =
        || BucketSettings { bucket: "config".to_owned(), access: BucketAccess::Read, domain: None };
    assert_eq!(warned(|role| role.publish = allow(&["orders.>"])), [""; 0]);
    // Other roles of the account may be captured by its streams.
    let policy = policy(|p| {
        p.roles.insert("plain".into(), publisher(&["orders.>"]));
        p.roles.insert("api".into(), publisher(&["$JS.API.INFO"]));
        p.roles.insert("reader".into(), {
            RoleSettings { inbox: Inbox::Private, kv: vec![config()], ..RoleSettings::default() }
        });
    });
    let found: Vec<_> = policy.warnings().iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(found, ["roles.plain.publish", "roles.reader.kv[0]"]);
    let publishes = warned(|role| {
        role.streams.push(StreamSettings {
            name: "ORDERS".to_owned(),
            access: StreamAccess::Publish,
            consumer: None,
            subjects: texts(&["orders.new"]),
            domain: None,
        });
    });
    assert_eq!(publishes, ["roles.one.streams[0]"]);
}

#[test]
fn mqtt_grants_the_subscriptions_of_old_servers() {
    let policy = policy(|p| {
        let role = RoleSettings { mqtt: true, subscribe: allow(&["a"]), ..RoleSettings::default() };
        p.roles.insert("one".into(), role);
        p.bindings.push(bind(&["one"]));
    });
    let grant = Scene::over(ConnectionKind::Mqtt).resolve(&policy, &user("u")).unwrap();
    assert_eq!(subscribes(&grant), ["$MQTT.deliver.>", "$MQTT.sub.>", "a"]);
    let [warning] = policy.warnings() else { panic!("{:?}", policy.warnings()) };
    assert_eq!(warning.path, "roles.one.mqtt");
    assert!(warning.message.contains("other MQTT clients"), "{warning}");
}
