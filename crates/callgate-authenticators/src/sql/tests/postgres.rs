use std::sync::atomic::{AtomicBool, Ordering};

use callgate_testkit::{
    databases::{Postgres, ServerTls},
    eventually,
    oidc_provider::Authority,
};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use super::*;

fn tables() -> String {
    format!(
        "create role callgate login password 'secret';\n\
         create type level as enum ('low', 'high');\n\
         create table users (name text primary key, hash text, roles text[], level level, until timestamptz,\n\
           permissions jsonb, enabled boolean default true);\n\
         insert into users values ('alice', '{HASH}', '{{reader,writer}}', 'high', '2099-01-01', \
           '{{\"publish\": [\"a.>\"]}}');\n\
         insert into users values ('bob', '{HASH}', null, null, '2020-01-01', null);\n\
         create table doubles (name text, hash text);\n\
         insert into doubles values ('alice', '{HASH}'), ('alice', '{HASH}');\n\
         grant select on users, doubles to callgate;\n"
    )
}

const QUERY: &str = "query = \"SELECT name AS user, hash AS password, roles, level, until AS expires, permissions, NOT enabled AS disabled FROM users WHERE name = $1\"";

async fn server() -> Postgres {
    Postgres::start(&tables()).await
}

fn gate(server: &Postgres, rest: &str) -> Gate {
    Gate::new(&toml(server, rest))
}

fn toml(server: &Postgres, rest: &str) -> String {
    let url = server.url("callgate", "secret");
    format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n{rest}")
}

async fn administrator(server: &Postgres) -> sqlx::PgConnection {
    sqlx::PgConnection::connect(&server.superuser_url()).await.unwrap()
}

#[tokio::test]
async fn rows_of_postgres_become_identities() {
    let server = server().await;
    let gate = gate(&server, QUERY);
    let alice = gate.admits("alice").await;
    assert_eq!(alice.proposal.roles.unwrap(), ["reader", "writer"]);
    assert_eq!(alice.claims["level"], "high");
    assert!(alice.proposal.permissions.is_some());
    assert_eq!(alice.expires_at.unwrap().seconds(), 4_070_908_800);
    assert_rejected(gate.login("alice", "wrong").await, Reason::BadPassword);
    assert_rejected(gate.login("ALICE", "right").await, Reason::UnknownUser);
    assert_rejected(gate.login("bob", "right").await, Reason::UserExpired);
    let mut administrator = administrator(&server).await;
    administrator.execute("update users set enabled = false").await.unwrap();
    assert_rejected(gate.login("alice", "right").await, Reason::UserDisabled);
}

#[tokio::test]
async fn two_rows_are_refused() {
    let server = server().await;
    let query = "query = \"SELECT name AS user, hash AS password FROM doubles WHERE name = $1\"";
    let gate = gate(&server, query);
    for _ in 0..3 {
        assert_rejected(gate.login("alice", "right").await, Reason::UnknownUser);
    }
}

#[tokio::test]
async fn sql_metacharacters_are_a_plain_value() {
    let server = server().await;
    let gate = gate(&server, QUERY);
    for name in ["' OR 1=1 --", "alice' --", "$1", "\\", "alice\u{bf}'", "%", "_____"] {
        assert_rejected(gate.login(name, "right").await, Reason::UnknownUser);
    }
    for name in ["alice\0", "al\nice", &"a".repeat(1 << 20)] {
        assert_rejected(gate.login(name, "right").await, Reason::UnknownUser);
    }
    for password in ["", "right\0", &"a".repeat(1 << 20)] {
        assert_rejected(gate.login("alice", password).await, Reason::BadPassword);
    }
    gate.admits("alice").await;
}

#[tokio::test]
async fn sessions_cannot_write() {
    let server = server().await;
    let mut administrator = administrator(&server).await;
    administrator.execute("grant insert, select on users to callgate").await.unwrap();
    let query =
        "query = \"INSERT INTO users VALUES ($1) RETURNING name AS user, hash AS password\"";
    let error = unavailable(gate(&server, query).login("eve", "right").await);
    assert!(error.contains("read-only"), "{error}");
}

#[tokio::test]
async fn sql_database_without_tls_gets_no_password() {
    let server = server().await;
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("test"));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let gate = gate(&server, &format!("tls = {{ ca = \"{}\" }}\n{QUERY}", ca.display()));
    let error = unavailable(gate.login("alice", "right").await);
    assert!(error.contains("does not support TLS"), "{error}");
}

#[tokio::test]
async fn only_the_configured_authority_and_name_count() {
    let authority = Authority::new("test");
    let (certificate, key) = authority.server_pem();
    let server = Postgres::start_with(&tables(), Some(&ServerTls { certificate, key })).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path.display().to_string()
    };
    let right = write("right.pem", &authority);
    let wrong = write("wrong.pem", &Authority::new("other"));
    gate(&server, &format!("tls = {{ ca = \"{right}\" }}\n{QUERY}")).admits("alice").await;
    let stranger = gate(&server, &format!("tls = {{ ca = \"{wrong}\" }}\n{QUERY}"));
    unavailable(stranger.login("alice", "right").await);
    // Of this machine's authorities, none signed the certificate.
    unavailable(gate(&server, &format!("tls = {{}}\n{QUERY}")).login("alice", "right").await);
    let url = server.url("callgate", "secret").replace("127.0.0.1", "localhost");
    let misnamed = Gate::new(&format!("url = \"{url}\"\ntls = {{ ca = \"{right}\" }}\n{QUERY}"));
    unavailable(misnamed.login("alice", "right").await);
    let renamed = format!(
        "url = \"{url}\"\nconnect_timeout = \"10s\"\n\
         tls = {{ ca = \"{right}\", server_name = \"127.0.0.1\" }}\n{QUERY}"
    );
    Gate::new(&renamed).admits("alice").await;
    let renamed = renamed.replace("\"127.0.0.1\" }", "\"db.example\" }");
    unavailable(Gate::new(&renamed).login("alice", "right").await);
}

#[tokio::test]
async fn sql_abandoned_logins_do_not_shrink_the_pool() {
    let server = server().await;
    let slow = "query = \"SELECT name AS user, hash AS password, pg_sleep(CASE WHEN $1 = 'alice' THEN 0 ELSE 30 END)::text FROM users WHERE name IN ($1, 'bob') AND (name = 'alice' OR $1 <> 'alice')\"";
    let gate = Gate::with_timeout(&toml(&server, slow), Duration::from_secs(2));
    let short = Duration::from_millis(50);
    let abandoned = (0..1000).map(|number| {
        let (gate, name) = (&gate, format!("slow-{number}"));
        async move { unavailable(gate.login_within(&name, "right", short).await) }
    });
    join_all(abandoned).await;
    eventually("eight logins at a time", PATIENCE, async || {
        let answers = join_all((0..8).map(|_| gate.login("alice", "right"))).await;
        answers.iter().all(Result::is_ok).then_some(())
    })
    .await;
    let mut administrator = administrator(&server).await;
    eventually("no more than eight connections", PATIENCE, async || {
        let sql = "select count(*) from pg_stat_activity where usename = 'callgate'";
        let open: i64 = sqlx::query_scalar(sql).fetch_one(&mut administrator).await.unwrap();
        (open <= 8).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sql_dead_idle_connection_costs_no_login() {
    let mut server = server().await;
    let gate = gate(&server, QUERY);
    let answers = join_all(["alice", "bob", "x", "y", "z"].map(|name| gate.login(name, "right")));
    answers.await;
    server.stop().await;
    server.start_again().await;
    gate.admits("alice").await;
}

#[tokio::test]
async fn sql_wrong_service_password_is_unavailable_without_spin() {
    let mut server = server().await;
    let url = server.url("callgate", "canary");
    let gate = Gate::new(&format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n{QUERY}"));
    for _ in 0..50 {
        let error = unavailable(gate.login("alice", "right").await);
        assert!(!error.contains("canary"), "{error}");
    }
    let attempts = server.process().stderr().matches("password authentication failed").count();
    assert!((5..=10).contains(&attempts), "{attempts} connections for 50 logins");
}

#[tokio::test]
async fn failed_connections_name_the_database_and_the_remedy() {
    let mut server = server().await;
    let login = async |url: &str| {
        let toml = format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n{QUERY}");
        unavailable(Gate::new(&toml).login("alice", "right").await)
    };
    let url = server.url("callgate", "canary");
    let (address, name) = url.rsplit_once('/').unwrap();
    let place = format!("`postgres://{}/{name}`", address.rsplit_once('@').unwrap().1);
    let error = login(&url).await;
    assert!(error.contains(&place) && error.contains("check the user"), "{error}");
    let url = server.url("callgate", "secret");
    let missing = format!("{}/missing", url.rsplit_once('/').unwrap().0);
    let error = login(&missing).await;
    assert!(error.contains("/missing`") && error.contains("check the database"), "{error}");
    server.stop().await;
    let error = login(&url).await;
    for text in [place.as_str(), "Connection refused", "is the database running"] {
        assert!(error.contains(text), "{error}");
    }
    for product in ["postgres", "mysql"] {
        let error = login(&format!("{product}://app:canary@127.0.0.1:1/users")).await;
        let place = format!("cannot connect to `{product}://127.0.0.1:1/users`");
        assert!(error.contains(&place) && !error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn frozen_and_stopped_databases_are_unavailable_and_come_back() {
    let mut server = server().await;
    let gate = Gate::with_timeout(&toml(&server, QUERY), Duration::from_secs(1));
    let back = async || {
        eventually("a login", PATIENCE, async || gate.login("alice", "right").await.ok()).await
    };
    back().await;
    server.freeze().await;
    unavailable(gate.login("alice", "right").await);
    server.thaw();
    back().await;
    server.stop().await;
    unavailable(gate.login("alice", "right").await);
    server.start_again().await;
    back().await;
}

#[tokio::test]
async fn changed_columns_cost_no_login() {
    let server = server().await;
    let gate = gate(
        &server,
        "query = \"SELECT name AS user, hash AS password, d.* FROM users u JOIN (SELECT level FROM users) d ON true WHERE name = $1 LIMIT 1\"",
    );
    gate.admits("alice").await;
    let mut administrator = administrator(&server).await;
    administrator.execute("alter table users alter column level type text").await.unwrap();
    gate.admits("alice").await;
}

#[tokio::test]
async fn check_prints_parameters_and_columns() {
    let server = server().await;
    let report = gate(&server, QUERY).probe().await.unwrap();
    assert_eq!(
        report.notes,
        ["`query`: parameter TEXT; columns user TEXT, password TEXT, roles TEXT[], level level, \
          expires TIMESTAMPTZ, permissions JSONB, disabled BOOL"]
    );
    assert_eq!(report.warnings, Vec::<String>::new());
    let mut administrator = administrator(&server).await;
    administrator.execute("grant insert on users to callgate").await.unwrap();
    let report = gate(&server, QUERY).probe().await.unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("`users`")), "{report:?}");
    for (query, error) in [
        ("SELECT name FROM users WHERE name = $1", "no column `password`"),
        ("SELECT hash AS password FROM users WHERE name = $1 OR name = $2", "2 parameters"),
        ("SELECT hash AS password, '::1'::inet AS ip FROM users WHERE name = $1", "INET"),
        ("SELECT hash AS password FROM missing WHERE name = $1", "missing"),
        ("SELEC", "syntax error"),
    ] {
        let found = gate(&server, &format!("query = \"{query}\"")).probe().await.unwrap_err();
        assert!(found.contains(error), "{query}: {found}");
    }
}

#[tokio::test]
async fn sql_hostile_hashes_are_refused() {
    let server = server().await;
    let mut administrator = administrator(&server).await;
    for hash in [
        "$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHQ$HfUjgVLdTUdJbWQ+5Gd3vr44sMVgvYpQwFwHFWcVkvI",
        "$2b$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
        "pbkdf2_sha256$4000000000$salt$HfUjgVLdTUdJbWQ+5Gd3vr44sMVgvYpQwFwHFWcVkvI=",
        "right",
        "",
    ] {
        let update = sqlx::query("update users set hash = $1").bind(hash);
        update.execute(&mut administrator).await.unwrap();
        let gate = gate(&server, QUERY);
        assert_rejected(gate.login("alice", "right").await, Reason::BadPassword);
    }
}

/// Passes connections on to a port, and every piece of the answers twice once `repeats` is set.
async fn repeating_proxy(port: u16, repeats: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let repeats = Arc::clone(&repeats);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                let mut piece = vec![0; 65536];
                while let Ok(length @ 1..) = from_server.read(&mut piece).await {
                    let times = if repeats.load(Ordering::SeqCst) { 2 } else { 1 };
                    let _closed = to_client.write_all(&piece[..length].repeat(times)).await;
                }
            });
        }
    });
    own_port
}

#[tokio::test]
async fn sql_repeated_answers_are_given_to_no_other_client() {
    let server = server().await;
    let repeats = Arc::new(AtomicBool::new(false));
    let port = repeating_proxy(server.port(), Arc::clone(&repeats)).await;
    let gate = Gate::new(&format!(
        "url = \"postgres://callgate:secret@127.0.0.1:{port}/postgres\"\nconnect_timeout = \"10s\"\n\
         token_query = \"SELECT name AS user FROM users WHERE encode(sha256(name::bytea), 'hex') = $1\""
    ));
    let ask = async |token: &str| gate.ask(Credential::Token(token.into()), PATIENCE).await;
    assert_eq!(ask("alice").await.unwrap().user, "alice");
    assert!(matches!(ask("made-up").await, Err(Decline::NotMine)));
    assert_eq!(ask("alice").await.unwrap().user, "alice");
    repeats.store(true, Ordering::SeqCst);
    // This answer proves itself, and its copy is the answer to the next question.
    assert_eq!(ask("alice").await.unwrap().user, "alice");
    let error = unavailable(ask("made-up").await);
    assert!(error.contains("do not belong"), "{error}");
    for _ in 0..5 {
        // Without the check, each is given the answer to the one before.
        unavailable(ask("made-up").await);
        unavailable(ask("alice").await);
    }
    repeats.store(false, Ordering::SeqCst);
    eventually("an answer to its own question", PATIENCE, async || ask("alice").await.ok()).await;
}
