use super::*;

const QUERY: &str = "SELECT name AS user, hash AS password, roles, disabled, expires, team AS \\\"team\\\" FROM users WHERE name = ?";

async fn file(rows: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db").display().to_string();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let sql = format!(
        "CREATE TABLE users (name TEXT, hash TEXT, roles TEXT, disabled INTEGER, expires TEXT, team TEXT);
         CREATE TABLE tokens (digest TEXT, name TEXT);
         {rows}"
    );
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
    (folder, path)
}

#[tokio::test]
async fn users_of_a_file_log_in_with_password_token_and_nkey() {
    let rows = format!(
        "INSERT INTO users VALUES ('alice', '{HASH}', 'reader, writer', 0, NULL, 'blue');
         INSERT INTO users VALUES ('bob', '{HASH}', '[\"reader\"]', 1, NULL, NULL);
         INSERT INTO users VALUES ('carol', '{HASH}', NULL, 0, '2020-01-01T00:00:00Z', NULL);
         INSERT INTO tokens VALUES ('{CANARY}', 'robot');"
    );
    let (_folder, path) = file(&rows).await;
    let gate = Gate::new(&format!(
        "url = \"sqlite:{path}\"\nquery = \"{QUERY}\"\n\
         token_query = \"SELECT name AS user FROM tokens WHERE digest = ?\"\n\
         nkey_query = \"SELECT 'machine' AS user WHERE ? LIKE 'U%'\""
    ));
    let report = gate.probe().await.unwrap();
    assert_eq!(report.notes.len(), 3, "{report:?}");
    assert!(
        report.notes[0].contains("1 parameter; columns user TEXT, password TEXT"),
        "{report:?}"
    );
    let alice = gate.admits("alice").await;
    assert_eq!(alice.user, "alice");
    assert_eq!(alice.proposal.roles.unwrap(), ["reader", "writer"]);
    assert_eq!(alice.claims["team"], "blue");
    assert_eq!(alice.claims.len(), 1);
    assert!(!alice.proposal.unrestricted_if_alone);
    assert_rejected(gate.login("alice", "wrong").await, Reason::BadPassword);
    assert_rejected(gate.login("unknown", "right").await, Reason::UnknownUser);
    assert_rejected(gate.login("bob", "right").await, Reason::UserDisabled);
    assert_rejected(gate.login("carol", "right").await, Reason::UserExpired);
    let robot = gate.ask(Credential::Token("canary".into()), PATIENCE).await.unwrap();
    assert_eq!(robot.user, "robot");
    let other = gate.ask(Credential::Token("other".into()), PATIENCE).await;
    assert!(matches!(other, Err(Decline::NotMine)), "{other:?}");
    let nkey = callgate::keys::KeyPair::generate(callgate::keys::KeyKind::User).unwrap();
    let nkey = Credential::Nkey(nkey.public_key().parse().unwrap());
    assert_eq!(gate.ask(nkey, PATIENCE).await.unwrap().user, "machine");
}

/// The SHA-256 of `canary`.
const CANARY: &str = "e100fbce008c04ec40637af0af91fb2f05aeedc23f856a2d3c0b1580625d755e";

#[tokio::test]
async fn change_of_the_row_counts_at_the_next_login() {
    let (_folder, path) =
        file(&format!("INSERT INTO users VALUES ('alice', '{HASH}', '', 0, NULL, NULL);")).await;
    let gate = Gate::new(&format!("url = \"sqlite:{path}\"\nquery = \"{QUERY}\""));
    gate.admits("alice").await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    connection.execute("UPDATE users SET disabled = 1").await.unwrap();
    assert_rejected(gate.login("alice", "right").await, Reason::UserDisabled);
    connection.execute("UPDATE users SET disabled = 0, hash = 'x'").await.unwrap();
    assert_rejected(gate.login("alice", "right").await, Reason::BadPassword);
    connection.execute("DROP TABLE users").await.unwrap();
    unavailable(gate.login("alice", "right").await);
}

#[tokio::test]
async fn file_is_never_written_or_created() {
    let (folder, path) = file("").await;
    let gate = Gate::new(&format!(
        "url = \"sqlite:{path}\"\nquery = \"INSERT INTO users (name) VALUES (?) RETURNING name AS user, '{HASH}' AS password\""
    ));
    let error = unavailable(gate.login("eve", "right").await);
    assert!(error.contains("readonly"), "{error}");
    let missing = folder.path().join("missing.db");
    let gate = Gate::new(&format!("url = \"sqlite:{}\"\nquery = \"{QUERY}\"", missing.display()));
    unavailable(gate.login("alice", "right").await);
    let error = gate.probe().await.unwrap_err();
    let path = format!("`sqlite:{}` refused the connection", missing.display());
    for text in [&path, "unable to open", "does the file exist"] {
        assert!(error.contains(text), "{error}");
    }
    assert!(!missing.exists());
}

#[tokio::test]
async fn endless_statement_of_sqlite_ends_at_the_timeout() {
    let (_folder, path) = file("").await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS password, ? AS user FROM n";
    let gate = Gate::with_timeout(
        &format!("url = \"sqlite:{path}\"\nconnections = 1\nquery = \"{endless}\""),
        Duration::from_millis(300),
    );
    for _ in 0..3 {
        unavailable(gate.login("alice", "right").await);
    }
}
