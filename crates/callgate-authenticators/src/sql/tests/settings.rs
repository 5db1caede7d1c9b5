use super::*;

const QUERY: &str = "query = \"SELECT 1\"";

fn errors(toml: &str) -> String {
    build(toml, PATIENCE).map(|gate| format!("{gate:?}")).unwrap_err()
}

#[tokio::test]
async fn settings_that_cannot_work_are_errors() {
    for (toml, error) in [
        (QUERY.to_owned(), "needs a `url`"),
        ("url = \"sqlite:a.db\"".to_owned(), "needs a `query`"),
        (format!("url = \"sqlite::memory:\"\n{QUERY}"), "must name a file"),
        (format!("url = \"sqlite:a.db?mode=rw\"\n{QUERY}"), "parameters after `?`"),
        (format!("url = \"postgres://u:canary@h/d?sslmode=disable\"\n{QUERY}"), "parameters after"),
        (format!("url = \"oracle://u:canary@h/d\"\n{QUERY}"), "must begin with"),
        (
            format!("url = \"postgres://u:canary@h\"\n{QUERY}"),
            "needs a user, a host and a database",
        ),
        (format!("url = \"postgres://h/d\"\n{QUERY}"), "needs a user"),
        (
            format!("url = \"mysql://u@h/d\"\ntransaction_pooling = true\n{QUERY}"),
            "only PostgreSQL",
        ),
        (format!("url = \"sqlite:a.db\"\ntls = {{}}\n{QUERY}"), "has no TLS"),
        (
            format!("url = \"sqlite:a.db\"\nhash = \"$argon2id$v=19\"\n{QUERY}"),
            "beginning of a hash",
        ),
        (
            "url = \"sqlite:a.db\"\nfall_through = true\ntoken_query = \"SELECT 1\"".to_owned(),
            "has no effect without a `query`",
        ),
        (format!("url = \"sqlite:a.db\"\nconnections = 0\n{QUERY}"), "connections"),
    ] {
        let found = errors(&toml);
        assert!(found.contains(error), "{toml}\n{found}");
        assert!(!found.contains("canary"), "{found}");
    }
}

#[tokio::test]
async fn only_scheme_host_port_and_database_are_shown() {
    for (url, shown) in [
        ("postgres://callgate:canary@db.example/app", "postgres://db.example:5432/app"),
        ("mysql://callgate:canary@[::1]:3307/app", "mysql://[::1]:3307/app"),
        ("postgres://canary@%2Frun%2Fpostgresql/app", "postgres://\"/run/postgresql\"/app"),
    ] {
        let gate = build(&format!("url = \"{url}\"\n{QUERY}"), PATIENCE).unwrap();
        let debug = format!("{gate:?}");
        assert!(debug.contains(&format!("{shown:?}")) || debug.contains(shown), "{debug}");
        assert!(!debug.contains("canary"), "{debug}");
    }
}

#[test]
fn costs_of_unknown_users_are_prefixes_of_hashes() {
    for prefix in
        ["$argon2id$v=19$m=64,t=2,p=1", "$2b$12$", "$scrypt$ln=15,r=8,p=1", "$pbkdf2-sha256$i=1000"]
    {
        assert!(StoredPassword::cost_of_prefix(prefix).is_some(), "{prefix}");
    }
    for prefix in ["", "$", "argon2id", "$argon2id$v=19$m=64,t=2,p=1$c2FsdA$aGFzaA", "$2b$99"] {
        assert!(StoredPassword::cost_of_prefix(prefix).is_none(), "{prefix}");
    }
}

#[test]
fn queries_that_propose_roles_need_a_ceiling() {
    for (sql, expected) in [
        ("SELECT name AS user, role AS roles FROM users WHERE name = ?", true),
        ("SELECT Account FROM users WHERE name = ?", true),
        ("SELECT name AS user FROM account_roles WHERE name = ?", false),
    ] {
        let statement = Statement { sql: sql.into(), unverified: Unverified::None };
        assert_eq!(proposes(&statement), expected, "{sql}");
    }
}

#[test]
fn no_authority_is_built_in() {
    assert!(webpki_roots::TLS_SERVER_ROOTS.is_empty(), "`[patch.crates-io]` is missing");
}
