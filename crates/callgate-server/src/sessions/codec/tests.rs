use super::{
    fuzzing::{decoded_twice, every_value},
    *,
};

fn session(client_id: u64, common: &Arc<Common>) -> Session {
    Session::new(Values {
        key: SessionKey { server: [7; 32].into(), client_id },
        common: Arc::clone(common),
        user: "gh:älice",
        prefix: 3,
        client_name: "a \"b\"\n",
        mqtt_id: "m",
        decision: "FJ3M",
        kind: ConnectionKind::Mqtt,
        source: "2001:db8::7".parse().ok(),
        since: UnixTime::from_seconds(-5),
        ends: None,
        issued_at: Some(UnixTime::from_seconds(1 << 40)),
        judged: Some([0, 255, 7].into()),
    })
}

fn common(account: &str) -> Arc<Common> {
    Arc::new(Common {
        authenticator: "staff".into(),
        account: account.into(),
        groups: ["a".into(), "b".into()].into(),
        roles: [].into(),
        replica: "R".into(),
    })
}

#[test]
fn sessions_are_decoded_as_they_were_encoded() {
    let app = common("APP");
    let other = common("OTHER");
    let sessions = [session(1, &app), session(u64::MAX, &other), session(300, &app)].map(Arc::new);
    let ended = SessionKey { server: [9; 32].into(), client_id: 128 };
    let messages = encode(&sessions, &[ended]);
    assert_eq!(messages.len(), 1);
    let items = decode(&messages[0]).unwrap();
    let [Item::Entered(first), Item::Entered(second), Item::Entered(third), Item::Ended(key)] =
        items.as_slice()
    else {
        panic!("{items:?}");
    };
    for (decoded, original) in [first, second, third].into_iter().zip(&sessions) {
        assert_eq!(every_value(decoded), every_value(original));
    }
    assert_eq!(*key, ended);
    assert_eq!(first.source_user(), "älice");
    assert!(Arc::ptr_eq(&first.common, &third.common), "shared values are sent once");
}

#[test]
fn many_sessions_are_split_into_messages() {
    let app = common("APP");
    let sessions: Vec<_> = (0..10_000).map(|id| Arc::new(session(id, &app))).collect();
    let messages = encode(&sessions, &[]);
    assert!(messages.iter().all(|message| message.len() < MAX_MESSAGE + 4096));
    let items = messages.iter().flat_map(|message| decode(message).unwrap()).count();
    assert!(messages.len() > 1 && items == 10_000);
    assert!(encode(&[], &[]).is_empty());
}

#[test]
fn damaged_messages_are_ignored() {
    let message = encode(&[Arc::new(session(1, &common("APP")))], &[]).remove(0);
    let entered = |bytes: &[u8]| decode(bytes).map_or(0, |items| items.len());
    assert_eq!(entered(&message), 1);
    for length in 2..message.len() {
        assert!(decode(&message[..length]).is_none_or(|items| items.is_empty()), "{length}");
    }
    // A length far beyond the end of the message.
    let huge = [&[VERSION, COMMON][..], &[0xff; 9], &[0x01]].concat();
    for damaged in [&[][..], &[VERSION + 1], &[VERSION, 9], &huge] {
        assert_eq!(entered(damaged), 0);
    }
    for index in 0..message.len() {
        for change in 1..=u8::MAX {
            let mut changed = message.clone();
            changed[index] ^= change;
            if let Some([once, again]) = decoded_twice(&changed) {
                assert_eq!(once, again, "byte {index} ^ {change}");
            }
        }
    }
}
