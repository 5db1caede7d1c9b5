use callgate_testkit::databases::{PgBouncer, Postgres};
use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn sql_works_behind_a_transaction_pooler() {
    let server = Postgres::start(&format!(
        "create role callgate login password 'secret';\n\
         create table users (name text, hash text);\n\
         insert into users select 'user-' || n, '{HASH}' from generate_series(1, 600) n;\n\
         grant select on users to callgate;\n"
    ))
    .await;
    let pooler = PgBouncer::start(&server, "callgate", "secret", 2).await;
    let query = "query = \"SELECT name AS user, hash AS password FROM users WHERE name = $1\"";
    let url = pooler.url();
    let gate = Gate::new(&format!(
        "url = \"{url}\"\ntransaction_pooling = true\nconnect_timeout = \"10s\"\n{query}"
    ));
    let report = gate.probe().await.unwrap();
    assert!(report.notes[0].contains("user TEXT"), "{report:?}");
    let names = (1..=600).map(|number| format!("user-{number}"));
    let logins = names.map(|name| {
        let gate = &gate;
        async move { gate.login(&name, "right").await.map(|identity| (name, identity.user)) }
    });
    for answer in join_all(logins).await {
        let (name, user) = answer.unwrap();
        assert_eq!(name, user);
    }
    let plain = Gate::new(&format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n{query}"));
    let error = unavailable(plain.login("user-1", "right").await);
    assert!(error.contains("transaction_pooling"), "{error}");
}
