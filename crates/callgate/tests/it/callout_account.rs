//! No user is placed in the callout account, because its members can read every password.

use callgate::{User, record::Reason};

use crate::support::Bench;

#[tokio::test]
async fn configured_callout_account_is_refused() {
    let bench = Bench::new(|builder| {
        builder
            .callout_account("AUTH")
            .authorize(|_| async { Ok(User::in_account("AUTH").publish("a")) })
    });
    bench.refused(bench.alice(), Reason::AccountNotAllowed).await;
    assert_eq!(bench.gate.stated_callout_account().as_deref(), Some("AUTH"));
}

#[tokio::test]
async fn detected_callout_account_is_refused() {
    let bench = Bench::giving(User::in_account("AUTH").publish("a"));
    bench.admitted(bench.alice()).await;
    bench.gate.learn_callout_account("AUTH");
    bench.refused(bench.alice(), Reason::AccountNotAllowed).await;
}

#[tokio::test]
async fn detected_callout_account_survives_a_reload() {
    use crate::support::signer;
    let bench = Bench::giving(User::in_account("APP").publish("a"));
    bench.gate.learn_callout_account("AUTH");
    let next = callgate::Callgate::builder(signer(&bench.issuer))
        .authorize(|_| async { Ok(User::in_account("AUTH").unrestricted()) });
    bench.gate.replace(next).unwrap();
    let request = bench.alice().build();
    let now = callgate::clock::UnixTime::from_seconds(crate::support::NOW);
    let reply = bench.gate.handle(&request.payload, None, now).await;
    let callgate::Reply::Answer(answer) = reply else { panic!("no answer") };
    assert_eq!(request.open_response(&answer).error(), "authorization failed");
}

#[tokio::test]
async fn callout_account_is_refused_for_unrestricted_leaf_nodes() {
    use callgate::connection::ConnectionKind;
    let user = User::in_account("AUTH").unrestricted().only_over([ConnectionKind::LeafNode]);
    let bench = Bench::giving(user);
    bench.gate.learn_callout_account("AUTH");
    bench.refused(bench.alice().leaf_node(), Reason::AccountNotAllowed).await;
}

#[tokio::test]
async fn insecure_option_allows_the_callout_account() {
    let bench = Bench::new(|builder| {
        builder
            .callout_account("AUTH")
            .insecure_share_callout_account()
            .authorize(|_| async { Ok(User::in_account("AUTH").publish("a")) })
    });
    bench.gate.learn_callout_account("AUTH");
    assert_eq!(bench.admitted(bench.alice()).await["aud"], "AUTH");
}
