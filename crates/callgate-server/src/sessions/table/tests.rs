use std::{env, fs, process::Command};

use callgate::{connection::ConnectionKind, keys::ServerKey};

use super::{super::session::Values, *};

fn key(server: u8, client_id: u64) -> SessionKey {
    SessionKey::new(&ServerKey::from_bytes([server; 32]), client_id)
}

fn session(server: u8, client_id: u64, user: &str) -> Session {
    let ends = UnixTime::from_seconds(i64::try_from(client_id).unwrap());
    Session::new(Values {
        key: key(server, client_id),
        prefix: 0,
        common: Arc::new(Common {
            authenticator: "staff".into(),
            account: "APP".into(),
            groups: ["operators".into(), "developers".into()].into(),
            roles: ["reader".into()].into(),
            replica: "AAAAAAAAAA".into(),
        }),
        user,
        client_name: "orders-service-7",
        mqtt_id: "",
        decision: "FJ3M6WXXKU4F4NE4SCOVGQIAMGTBE4QMUCPMGK5V6JTW7BRBEZTA",
        kind: ConnectionKind::Nats,
        source: Some([10, 1, 2, 3].into()),
        since: UnixTime::from_seconds(1_700_000_000),
        ends: Some(ends),
        issued_at: None,
        judged: None,
    })
}

fn users(table: &Table) -> Vec<String> {
    let mut users: Vec<_> =
        table.search(|_| true).iter().map(|session| session.user().to_owned()).collect();
    users.sort();
    users
}

#[test]
fn oldest_session_makes_room_for_a_new_one() {
    let table = Table::new(3);
    for (client_id, user) in [(1, "a"), (2, "b"), (3, "c")] {
        table.enter_foreign(session(1, client_id, user));
    }
    // A new login on the same connection is the newest.
    table.enter_foreign(session(1, 1, "a2"));
    table.enter_foreign(session(2, 1, "d"));
    assert_eq!(users(&table), ["a2", "c", "d"]);
    table.remove(key(1, 3));
    table.enter_foreign(session(2, 2, "e"));
    assert_eq!(users(&table), ["a2", "d", "e"]);
    table.enter_foreign(session(2, 3, "f"));
    assert_eq!(users(&table), ["d", "e", "f"]);
    assert_eq!(table.len(), 3);
}

#[test]
fn removed_session_is_not_found() {
    let table = Table::new(10);
    table.enter_foreign(session(1, 7, "a"));
    assert!(table.find(key(1, 7)).is_some_and(|session| session.user() == "a"));
    assert!(table.remove(key(1, 8)).is_none() && table.remove(key(2, 7)).is_none());
    assert!(table.remove(key(1, 7)).is_some());
    assert!(table.find(key(1, 7)).is_none() && table.remove(key(1, 7)).is_none());
    assert_eq!((table.len(), users(&table).len()), (0, 0));
}

#[test]
fn ended_session_is_removed_a_minute_later() {
    let table = Table::new(10);
    table.enter_foreign(session(1, 100, "a"));
    table.enter_foreign(session(1, 200, "b"));
    assert_eq!(table.remove_ended(UnixTime::from_seconds(160)), 0);
    assert_eq!(table.remove_ended(UnixTime::from_seconds(161)), 1);
    assert_eq!(users(&table), ["b"]);
}

#[test]
fn table_agrees_with_a_simple_model() {
    let table = Table::new(50);
    let mut model: Vec<(u8, u64)> = Vec::new();
    // A linear congruential generator: the same sequence in every run.
    let mut state = 1_u64;
    for _ in 0..20_000 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let server = u8::try_from((state >> 40) % 3).unwrap();
        let client_id = (state >> 50) % 40;
        model.retain(|other| *other != (server, client_id));
        if (state >> 60).is_multiple_of(3) {
            table.remove(key(server, client_id));
            continue;
        }
        table.enter_foreign(session(server, client_id, "x"));
        model.push((server, client_id));
        if model.len() > 50 {
            model.remove(0);
        }
        assert_eq!(table.len(), model.len());
    }
    assert!(model.iter().all(|(server, client_id)| table.find(key(*server, *client_id)).is_some()));
}

/// Set in the process that measures memory.
const MEASURE: &str = "CALLGATE_MEASURE_TABLE";

/// The memory of a process is measured in one that runs nothing else.
#[test]
fn session_takes_at_most_400_bytes() {
    if env::var_os(MEASURE).is_none() {
        let name = "sessions::table::tests::session_takes_at_most_400_bytes";
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads", "1", "--nocapture"])
            .env(MEASURE, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    const SESSIONS: u64 = 300_000;
    let table = Table::new(1_000_000);
    let before = resident();
    for client_id in 0..SESSIONS {
        let server = u8::try_from(client_id % 3).unwrap();
        table.enter_foreign(session(server, client_id, &format!("user-{client_id}")));
    }
    let bytes = (resident() - before) / SESSIONS;
    println!("{bytes} bytes per session");
    assert_eq!(u64::try_from(table.len()).unwrap(), SESSIONS);
    assert!((100..=400).contains(&bytes), "{bytes} bytes per session");
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn common_values_are_stored_once() {
    let table = Table::new(10);
    let first = table.enter_foreign(session(1, 1, "a"));
    let second = table.enter_foreign(session(1, 2, "b"));
    let parts = CommonParts {
        authenticator: "staff",
        account: "APP",
        groups: &["operators".to_owned(), "developers".to_owned()],
        roles: &["reader".to_owned()],
        replica: "AAAAAAAAAA",
    };
    let of_a_decision = table.intern(&parts);
    assert!(Arc::ptr_eq(&first.common, &second.common));
    assert!(Arc::ptr_eq(&first.common, &of_a_decision));
    let others = CommonParts { roles: &["writer".to_owned()], ..parts };
    assert!(!Arc::ptr_eq(&first.common, &table.intern(&others)));
}
