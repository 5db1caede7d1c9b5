//! Attacks on the connection to a web service.

use std::time::Duration;

use callgate::{
    authn::{Decline, Identity},
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::{Document, Format, Report, Sources};

use super::*;
use crate::{
    kind::SharedResources,
    test_server::{Reply, TestServer},
};

fn build(toml: &str) -> Result<Arc<dyn Authenticator>, Vec<String>> {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context = BuildContext::new("team", sources.clone(), Arc::new(SharedResources::new(1)));
    context.timeout = Duration::from_millis(600);
    let table = Table::root(&document, "http", &report, &sources)
        .with_keys(callgate_config::Type::Table(config::KEYS));
    let built = HttpKind.build(&context, table);
    built.ok_or_else(|| report.faults().iter().map(ToString::to_string).collect())
}

fn at(server: &TestServer, path: &str) -> Arc<dyn Authenticator> {
    build(&format!("url = \"{}\"", server.url(path))).unwrap()
}

fn login(user: &str) -> AuthRequest {
    let user = user.to_owned();
    AuthRequest::for_tests(Credential::Password { user, password: "secret".into() })
}

async fn answer(server: &TestServer, path: &str) -> Result<Identity, Decline> {
    at(server, path).authenticate(&login("alice")).await
}

const ALLOW: &str = r#"{"result":"allow"}"#;

#[tokio::test]
async fn http_only_200_with_one_valid_object_decides() {
    let server = TestServer::start().await;
    server.on("/good", Reply::with_head("200 OK", "content-type: text/html\r\n", ALLOW));
    assert_eq!(answer(&server, "/good").await.unwrap().user, "alice");
    let moved = |status: &str| {
        Reply::with_head(status, &format!("location: {}\r\n", server.url("/good")), ALLOW)
    };
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let endless_chunks = [chunked, b"10000\r\n".to_vec(), vec![b' '; 65536]].concat();
    let two_mib = format!("{}{ALLOW}", " ".repeat(2 << 20));
    let statuses = [
        "201 Created",
        "202 Accepted",
        "204 No Content",
        "206 Partial Content",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
    ];
    let mut replies: Vec<Reply> =
        statuses.iter().map(|status| Reply::with_head(status, "", ALLOW)).collect();
    replies.extend(
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"].map(moved),
    );
    replies.extend(
        [
            "",
            "<html>allow</html>",
            "{}",
            "null",
            r#"{"result":"allow","result":"allow"}"#,
            r#"{"result":"allow"} trailing"#,
            two_mib.as_str(),
        ]
        .map(Reply::json),
    );
    replies.extend([Reply::Endless, Reply::Silence, Reply::Hangup, Reply::Raw(endless_chunks)]);
    for (number, reply) in replies.into_iter().enumerate() {
        let path = format!("/bad/{number}");
        server.on(&path, reply);
        let result = answer(&server, &path).await;
        assert!(matches!(result, Err(Decline::Unavailable(_))), "{path}: {result:?}");
    }
}

#[tokio::test]
async fn answer_that_is_not_json_is_described_and_not_quoted() {
    let server = TestServer::start().await;
    // It may repeat the password.
    let page = "<p>no access for hunter2</p>";
    server.on("/page", Reply::with_head("200 OK", "content-type: text/html\r\n", page));
    let Err(Decline::Unavailable(error)) = answer(&server, "/page").await else {
        panic!("the page decided")
    };
    let error = error.to_string();
    assert!(error.contains("not a JSON object: content type `text/html`, 28 bytes"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn http_allow_together_with_an_error_is_unavailable() {
    let server = TestServer::start().await;
    for (number, body) in [
        r#"{"result":"allow","error":"backend down"}"#,
        r#"{"result":"allow","errors":[]}"#,
        r#"{"result":"allow","code":"bad_password"}"#,
        r#"{"result":"allow","detail":"wrong password"}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        server.on(&path, Reply::json(body));
        let result = answer(&server, &path).await;
        assert!(matches!(result, Err(Decline::Unavailable(_))), "{body}: {result:?}");
    }
}

#[tokio::test]
async fn http_question_is_never_sent_again_once_written() {
    let server = TestServer::start().await;
    let second = TestServer::start().await;
    second.on("/", Reply::json(ALLOW));
    for (path, reply) in [
        ("/hangup", Reply::Hangup),
        ("/partial", Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec())),
        ("/503", Reply::with_head("503 Service Unavailable", "retry-after: 0\r\n", "")),
    ] {
        server.on(path, reply);
        let before = server.request_count();
        let urls = format!("url = [\"{}\", \"{}\"]", server.url(path), second.url("/"));
        let result = build(&urls).unwrap().authenticate(&login("alice")).await;
        assert!(matches!(result, Err(Decline::Unavailable(_))), "{path}: {result:?}");
        assert_eq!(server.request_count(), before + 1, "{path}");
    }
    assert_eq!(second.request_count(), 0);
}

#[tokio::test]
async fn another_address_is_tried_only_without_a_connection() {
    let server = TestServer::start().await;
    server.on("/", Reply::json(ALLOW));
    // Nothing listens on port 1.
    let urls = format!("url = [\"http://127.0.0.1:1/\", \"{}\"]", server.url("/"));
    let authenticator = build(&urls).unwrap();
    for count in 1..=2 {
        assert_eq!(authenticator.authenticate(&login("alice")).await.unwrap().user, "alice");
        assert_eq!(server.request_count(), count);
    }
    let nowhere = build("url = \"http://127.0.0.1:1/\"").unwrap();
    let result = nowhere.authenticate(&login("alice")).await;
    assert!(matches!(result, Err(Decline::Unavailable(_))), "{result:?}");
}

#[tokio::test]
async fn http_names_never_reach_a_header_or_url() {
    let server = TestServer::start().await;
    server.on("/login", Reply::json(r#"{"result":"deny"}"#));
    let authenticator = at(&server, "/login");
    for user in ["../admin", "%00", "a?b=c", "x/../../y", "a%0d%0aX-Admin: 1", "ä", "a b"] {
        let result = authenticator.authenticate(&login(user)).await;
        assert!(matches!(result, Err(Decline::Rejected(_))), "{user}: {result:?}");
        let head = server.last_request();
        assert!(head.starts_with("POST /login HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains(user) && !head.contains("X-Admin"), "{head}");
        let question: serde_json::Value = serde_json::from_str(&server.last_body()).unwrap();
        assert_eq!(question["credential"]["user"], user);
    }
    // A line break is never part of a name.
    let before = server.request_count();
    let result = authenticator.authenticate(&login("a\r\nX-Admin: 1")).await;
    assert!(matches!(result, Err(Decline::Rejected(it)) if it.reason == Reason::UnknownUser));
    assert_eq!(server.request_count(), before);
}

#[tokio::test]
async fn configured_headers_are_sent_and_never_shown() {
    let server = TestServer::start().await;
    server.on("/", Reply::json(ALLOW));
    let authenticator = build(&format!(
        "url = \"{}\"\nbearer = \"canary-1\"\nheaders = {{ X-Team = \"canary-2\" }}",
        server.url("/")
    ))
    .unwrap();
    authenticator.authenticate(&login("alice")).await.unwrap();
    let head = server.last_request().to_ascii_lowercase();
    for expected in
        ["authorization: bearer canary-1", "x-team: canary-2", "content-type: application/json"]
    {
        assert!(head.contains(expected), "{head}");
    }
    assert!(!format!("{authenticator:?}").contains("canary"));
}

#[test]
fn errors_name_the_key_and_the_remedy() {
    for (toml, expected) in [
        ("", "`url` is missing"),
        ("url = []", "must not be empty"),
        ("url = \"http://decide.internal/\"", "set `insecure_http = true`"),
        ("url = \"ftp://decide.internal/\"", "is not https"),
        ("url = \"https://a:canary@decide.internal/\"", "must not contain a user"),
        ("url = \"https://decide.internal/{{ user }}\"", "template or placeholder"),
        ("url = \"https://a/\"\nheaders = { Host = \"b\" }", "sets itself"),
        ("url = \"https://a/\"\nheaders = { content-length = \"1\" }", "sets itself"),
        ("url = \"https://a/\"\nheaders = { connection = \"close\" }", "sets itself"),
        ("url = \"https://a/\"\nheaders = { authorization = \"x\" }", "sets itself"),
        ("url = \"https://a/\"\nheaders = { \"a b\" = \"x\" }", "not the name of a header"),
        ("url = \"https://a/\"\nbearer = \"a\\nb\"", "characters that a header cannot have"),
        ("url = \"https://a/\"\ntakes = [\"cookie\"]", "not a kind of credential"),
        ("url = \"https://a/\"\ntakes = []", "takes no credential"),
        ("url = \"https://a/\"\nconnections = 0", "not between 1 and 256"),
        ("url = \"https://a/\"\nfall_through = true", "nothing to fall through to"),
        ("url = \"https://a/\"\ntls = { cert = \"x.pem\" }", "belong together"),
        ("url = \"https://a/\"\ntls = { ca = \"missing.pem\" }", "cannot read"),
    ] {
        let faults = build(toml).unwrap_err();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{toml}: {faults:?}");
        assert!(!faults.iter().any(|fault| fault.contains("canary")), "{faults:?}");
    }
}
