//! For any input: no panic, exactly one decision, and no admission without a valid signature.

use std::sync::LazyLock;

use callgate::{Reply, record::Outcome};
use callgate_testkit::{CurveKey, Nkey, RequestBuilder, SignedRequest, requests::FIELDS};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{Bench, NOW, xkey};

struct World {
    bench: Bench,
    sealed: SignedRequest,
    plain: SignedRequest,
    runtime: Runtime,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)).insecure_allow_plaintext());
    let sealed = bench.alice().sealed_for(&key.public()).build();
    let plain = bench.alice().build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    World { bench, sealed, plain, runtime }
});

/// Handles a message as if it were the first, one at a time because the gate is shared. [`Bench::handle`] asserts that there is
/// exactly one decision, and that dropped messages get no answer.
fn outcome(payload: &[u8], header: Option<&str>, now: i64) -> Outcome {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    WORLD.bench.clock.set(now);
    WORLD.bench.gate.forget_requests();
    let (reply, decision) = WORLD.runtime.block_on(WORLD.bench.handle(payload, header));
    assert_eq!(reply == Reply::Silent, decision.outcome() == Outcome::Dropped);
    decision.outcome()
}

/// Changes bytes, and removes or repeats a range.
fn mutated(payload: &[u8], changes: &[(Index, u8)], cut: Option<(Index, Index)>) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    for (position, value) in changes {
        let position = position.index(bytes.len());
        bytes[position] = *value;
    }
    if let Some((from, to)) = cut {
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        if from <= to {
            bytes.drain(from..to);
        } else {
            let piece = bytes[to..from].to_vec();
            bytes.extend(piece);
        }
    }
    bytes
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[A-Za-z0-9_-]{2,20}\\.[A-Za-z0-9_-]{2,20}\\.[A-Za-z0-9_-]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,8}", inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_dropped(
        payload in vec(any::<u8>(), 0..2_000),
        sealed in any::<bool>(),
        header in proptest::option::of(".{0,70}"),
        now in any::<i64>(),
    ) {
        let payload = if sealed { [&b"xkv1"[..], &payload].concat() } else { payload };
        prop_assert_eq!(outcome(&payload, header.as_deref(), now), Outcome::Dropped);
    }

    #[test]
    fn request_with_any_changed_byte_is_dropped(
        sealed in any::<bool>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of((any::<Index>(), any::<Index>())),
    ) {
        let request = if sealed { &WORLD.sealed } else { &WORLD.plain };
        let payload = mutated(&request.payload, &changes, cut);
        let found = outcome(&payload, request.xkey_header.as_deref(), NOW);
        let expected =
            if payload == request.payload { Outcome::Admitted } else { Outcome::Dropped };
        prop_assert_eq!(found, expected);
    }

    /// A validly signed request with arbitrary values, as from a hostile or a future server.
    #[test]
    fn signed_request_with_arbitrary_fields_is_decided_once(
        field in proptest::sample::select(&FIELDS[..]),
        value in json(),
        also in proptest::sample::select(&FIELDS[..]),
        more in json(),
    ) {
        let server = Nkey::server();
        let request = RequestBuilder::new(&WORLD.bench.issuer.public(), NOW)
            .server(&server)
            .password("alice", "secret")
            .replace(field, value)
            .replace(also, more)
            .build();
        let found = outcome(&request.payload, None, NOW);
        if found == Outcome::Admitted {
            prop_assert_eq!(&request.claims["sub"], &WORLD.bench.issuer.public());
            prop_assert_eq!(&request.claims["aud"], "nats-authorization-request");
            prop_assert_eq!(&request.claims["iss"], &server.public());
        }
    }
}
