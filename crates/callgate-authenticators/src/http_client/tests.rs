use std::time::{Duration, Instant};

use super::*;
use crate::test_server::{Reply, TestServer};

fn client(timeout: Duration) -> HttpClient {
    let settings = HttpSettings { insecure_http: true, timeout, ..HttpSettings::default() };
    HttpClient::new(&settings).unwrap()
}

fn url(text: &str) -> HttpUrl {
    HttpUrl::parse(text, true).unwrap()
}

async fn get(server: &TestServer, path: &str) -> Result<Answer, HttpError> {
    client(Duration::from_millis(300)).get(&url(&server.url(path))).await
}

#[tokio::test]
async fn successful_answers_are_read_whatever_their_type() {
    let server = TestServer::start().await;
    server.on("/keys", Reply::json("{}"));
    let answer = get(&server, "/keys").await.unwrap();
    assert_eq!((answer.body, answer.max_age), (b"{}".to_vec(), None));
    for (headers, max_age) in [
        ("Cache-Control: public, max-age=600\r\n", Some(600)),
        ("cache-control: MAX-AGE=\"7\", no-transform\r\n", Some(7)),
        ("cache-control: no-store, max-age=600\r\n", Some(0)),
        ("cache-control: max-age=soon\r\n", None),
        ("cache-control: max-age=99999999999999999999999\r\n", None),
    ] {
        server.on("/keys", Reply::with_head("200 OK", headers, "{}"));
        let answer = get(&server, "/keys").await.unwrap();
        assert_eq!(answer.max_age, max_age.map(Duration::from_secs), "{headers}");
    }
}

#[tokio::test]
async fn other_answers_are_errors_in_one_line() {
    let server = TestServer::start().await;
    let endless = vec![b' '; MAX_BODY + 1];
    let long = [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], &endless].concat();
    let huge = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".to_vec();
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let location = "location: /keys\r\n";
    for (path, reply, expected) in [
        ("/missing", None, "answered 404"),
        ("/moved", Some(Reply::with_head("302 Found", location, "")), "redirects are not followed"),
        ("/moved", Some(Reply::with_head("308 Permanent", location, "")), "redirects are not"),
        ("/error", Some(Reply::with_head("500 Oops", "", "secret text")), "answered 500"),
        ("/empty", Some(Reply::with_head("204 No Content", "", "")), "answered 204"),
        ("/garbage", Some(Reply::Raw(b"\x16\x03\x01garbage\r\n\r\n".to_vec())), "failed"),
        ("/nothing", Some(Reply::Raw(Vec::new())), "failed"),
        ("/half", Some(Reply::Raw(half)), "failed"),
        ("/huge", Some(Reply::Raw(huge)), "longer than"),
        ("/long", Some(Reply::Raw(long)), "longer than"),
        ("/endless", Some(Reply::Endless), "longer than"),
        ("/silence", Some(Reply::Silence), "no answer in time"),
        ("/drip", Some(Reply::Dripping(vec![b' '; 1000])), "failed"),
    ] {
        if let Some(reply) = reply {
            server.on(path, reply);
        }
        let started = Instant::now();
        let error = get(&server, path).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(path), "{path}: {error}");
        assert!(!error.contains('\n') && !error.contains("secret"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{path}");
    }
}

#[tokio::test]
async fn answer_that_is_not_json_is_described() {
    let server = TestServer::start().await;
    let html = "<!doctype html>\n<title>Sign in</title><p>Welcome back";
    for (headers, body, expected) in [
        (
            "content-type: text/html; charset=utf-8\r\n",
            html,
            "content type `text/html; charset=utf-8`, it begins with `<!doctype html>\\n<title>Sign in</title><p…`",
        ),
        (
            "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            "\u{1f}\u{8b}\u{8}",
            "content type `application/json`, content encoding `gzip`, it begins with `\\x1f\\xc2\\x8b\\x08`",
        ),
        ("", "[]", "no content type, it begins with `[]`"),
        ("content-type: text/plain\r\n", " \r\n", "it is empty"),
    ] {
        server.on("/keys", Reply::with_head("200 OK", headers, body));
        let url = url(&server.url("/keys"));
        let answer = client(Duration::from_secs(5)).get(&url).await.unwrap();
        let error = answer.json_object(&url).unwrap_err().to_string();
        assert!(error.ends_with(&format!("/keys` is not a JSON object: {expected}")), "{error}");
    }
    server.on("/keys", Reply::json(" {\"keys\": []}"));
    let url = url(&server.url("/keys"));
    assert!(client(Duration::from_secs(5)).get(&url).await.unwrap().json_object(&url).is_ok());
}

#[tokio::test]
async fn unreachable_server_is_named() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unreachable = url(&format!("http://{port}/keys?key=secret"));
    let error = client(Duration::from_secs(1)).get(&unreachable).await.unwrap_err().to_string();
    assert!(error.contains(&format!("http://{port}/keys")) && error.contains("refused"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn bearer_token_is_sent_only_on_demand() {
    let server = TestServer::start().await;
    server.on("/keys", Reply::json("{}"));
    let client = client(Duration::from_secs(5));
    let keys = url(&server.url("/keys"));
    client.get(&keys).await.unwrap();
    assert!(!server.last_request().to_lowercase().contains("authorization"));
    client.get_with_token(&keys, &Secret::new("t0k3n")).await.unwrap();
    assert!(server.last_request().contains("authorization: Bearer t0k3n"));
    client.post_json(&keys, None, b"{}".to_vec()).await.unwrap();
    assert!(server.last_request().starts_with("POST /keys"));
}

#[tokio::test]
async fn plain_http_requires_the_insecure_switch() {
    let server = TestServer::start().await;
    let text = server.url("/keys");
    assert!(matches!(HttpUrl::parse(&text, false), Err(UrlError::NotHttps(_))));
    // Without the switch, the client refuses plain http even if it is given one.
    let strict = HttpSettings { ca: None, ..HttpSettings::default() };
    let Ok(client) = HttpClient::new(&strict) else {
        panic!("this machine has no CA certificates")
    };
    assert!(client.get(&url(&text)).await.is_err());
    assert_eq!(server.request_count(), 0);
}

#[test]
fn urls_are_https_with_a_host_and_without_a_user() {
    for text in [
        "",
        "issuer",
        "//host/x",
        "ftp://host/x",
        "file:///etc/passwd",
        "https://",
        "http://host/",
        "https://user@host/",
        "https://user:hunter2@host/",
        "unix:/run/x",
        "https:// host/",
    ] {
        let error = HttpUrl::parse(text, false).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    let good = HttpUrl::parse("https://LOGIN.example.com:8443/x?key=1#part", false).unwrap();
    assert_eq!(good.host(), "login.example.com");
    assert_eq!(good.to_string(), "`https://login.example.com:8443/x`");
}

#[test]
fn ca_without_certificates_is_refused() {
    for pem in [&b""[..], b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
    {
        let settings = HttpSettings { ca: Some(pem.to_vec()), ..HttpSettings::default() };
        assert_eq!(HttpClient::new(&settings).err(), Some(ClientError::Ca));
    }
}
