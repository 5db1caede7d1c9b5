//! Authenticators that ask a service.

use super::*;

const FAR_OFF: Duration = Duration::from_secs(60);

fn context() -> BuildContext {
    let shared = Arc::new(SharedResources::default());
    let mut context = BuildContext::new("candidate", Sources::new("."), shared);
    context.timeout = FAR_OFF;
    context
}

fn due_at(credential: Credential, deadline: tokio::time::Instant) -> AuthRequest {
    AuthRequest::for_tests(credential).due_at(deadline)
}

fn in_time(credential: Credential) -> AuthRequest {
    due_at(credential, tokio::time::Instant::now() + FAR_OFF)
}

fn too_late(credential: Credential) -> AuthRequest {
    due_at(credential, tokio::time::Instant::now() - Duration::from_millis(1))
}

fn token(text: &str) -> Credential {
    Credential::Token(text.into())
}

/// The service behind `http` and `nats`: answers a question.
#[cfg(any(feature = "http", feature = "nats"))]
fn decide(question: &[u8]) -> Vec<u8> {
    let question: Value = serde_json::from_slice(question).unwrap();
    let text = |name: &str| question["credential"][name].as_str().unwrap_or_default();
    let answer = match (text("kind"), text("user"), text("password"), text("token")) {
        ("password", "alice", "canary-clear", _) => json!({ "result": "allow" }),
        ("password", "erin", ..) => json!({ "result": "deny", "code": "user_disabled" }),
        ("password", "fred", ..) => json!({ "result": "deny", "code": "user_expired" }),
        ("password", "unknown", ..) => json!({ "result": "ignore" }),
        ("password", "odd", ..) => json!({ "result": "allow", "user": "odd", "admin": true }),
        ("token", _, _, "canary-token") => json!({ "result": "allow", "user": "carol" }),
        ("token", _, _, "canary-nameless") => json!({ "result": "allow" }),
        ("token", _, _, "canary-revoked") => json!({ "result": "deny" }),
        ("token", ..) => json!({ "result": "ignore" }),
        _ => json!({ "result": "deny", "detail": "wrong password" }),
    };
    answer.to_string().into_bytes()
}

/// A candidate whose service is [`decide`], except for what cuts it off.
#[cfg(any(feature = "http", feature = "nats"))]
fn decided(with: impl Fn() -> Arc<dyn Authenticator>) -> Candidate {
    let alice = || password("alice", "canary-clear");
    Candidate {
        authenticator: with(),
        good: logins([(alice(), "alice"), (token("canary-token"), "carol")]),
        bad: logins([
            (password("alice", "canary-wrong"), Reason::BadPassword),
            (password("alice", ""), Reason::BadPassword),
            (password("Alice", "canary-clear"), Reason::BadPassword),
            (password("unknown", "canary-clear"), Reason::UnknownUser),
            (password("erin", "canary-erin"), Reason::UserDisabled),
            (password("fred", "canary-fred"), Reason::UserExpired),
            (token("canary-revoked"), Reason::BadToken),
        ]),
        foreign: foreign([
            token("canary-other"),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: vec![
            (with(), too_late(alice())),
            // Answers that are not understood decide nothing.
            (with(), in_time(password("odd", "canary-odd"))),
            (with(), in_time(token("canary-nameless"))),
        ],
        secrets: vec!["canary".to_owned()],
    }
}

/// A web server that answers every body on its own connection.
#[cfg(any(feature = "http", feature = "introspection"))]
mod web {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    /// Gets the head and the body of a request; returns the status and the body of the answer.
    pub(super) type Answer = fn(&str, &[u8]) -> (&'static str, Vec<u8>);

    /// Starts the server, which runs as long as the test, and returns its URL.
    pub(super) async fn serve(answer: Answer) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(respond(stream, answer));
            }
        });
        url
    }

    /// Answers one request; a client that disconnects first gets no answer.
    async fn respond(mut stream: TcpStream, answer: Answer) -> Option<()> {
        let mut read = Vec::new();
        let end = loop {
            let end = read.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            stream.read_buf(&mut read).await.ok().filter(|count| *count > 0)?;
        };
        let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while read.len() < end + length {
            stream.read_buf(&mut read).await.ok().filter(|count| *count > 0)?;
        }
        let (status, body) = answer(&head, &read[end..]);
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn http_passes_the_authenticator_suite() {
    let url = web::serve(|head, body| match head.contains("bearer canary-bearer") {
        true => ("200 OK", decide(body)),
        false => ("403 Forbidden", b"canary-page".to_vec()),
    })
    .await;
    let with = |url: &str, bearer: &str| {
        let toml = format!(
            "[http]\nurl = \"{url}\"\nbearer = \"{bearer}\"\ntakes = [\"password\", \"token\"]\n\
             connect_timeout = \"20s\""
        );
        build_in(&toml, &context())
    };
    let mut candidate = decided(|| with(&url, "canary-bearer"));
    let alice = || in_time(password("alice", "canary-clear"));
    // Nothing listens on port 1.
    candidate.cut_off.push((with("http://127.0.0.1:1/", "canary-bearer"), alice()));
    candidate.cut_off.push((with(&url, "canary-unknown"), alice()));
    candidate.check_all().await;
}

#[cfg(feature = "nats")]
mod nats {
    use callgate_authenticators::kind::{Bucket, BucketEvent, Bus, BusError};
    use futures_util::future::BoxFuture;
    use tokio::{sync::mpsc, time::Instant};

    use super::*;

    /// A connection on which [`decide`] answers, or on which every request fails.
    #[derive(Debug)]
    struct Service(Option<BusError>);

    impl Bus for Service {
        fn ask<'a>(
            &'a self,
            subject: &'a str,
            question: Vec<u8>,
            _: Instant,
        ) -> BoxFuture<'a, Result<Vec<u8>, BusError>> {
            assert_eq!(subject, "decide.login");
            Box::pin(async move {
                // A reply never arrives before the first poll returns.
                tokio::task::yield_now().await;
                self.0.clone().map_or_else(|| Ok(decide(&question)), Err)
            })
        }

        fn collect<'a>(
            &'a self,
            _: &'a str,
            _: Instant,
        ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, BusError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn raise<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: u64,
            _: Instant,
        ) -> BoxFuture<'a, Result<bool, BusError>> {
            Box::pin(async { Err(BusError::NotConnected) })
        }

        fn watch(&self, _: &Bucket) -> mpsc::Receiver<BucketEvent> {
            mpsc::channel(1).1
        }
    }

    #[tokio::test]
    async fn nats_passes_the_authenticator_suite() {
        let with = |bus: Option<Service>| {
            let mut context = context();
            context.services.bus = bus.map(|bus| Arc::new(bus) as Arc<dyn Bus>);
            let toml = "[nats]\nsubject = \"decide.login\"\ntakes = [\"password\", \"token\"]";
            build_in(toml, &context)
        };
        let mut candidate = decided(|| with(Some(Service(None))));
        let broken = [BusError::NotConnected, BusError::NoResponders, BusError::NoReply];
        let broken = broken.map(|error| Some(Service(Some(error))));
        for bus in broken.into_iter().chain([None]) {
            let alice = in_time(password("alice", "canary-clear"));
            candidate.cut_off.push((with(bus), alice));
        }
        candidate.check_all().await;
    }
}

#[cfg(feature = "introspection")]
#[tokio::test]
async fn introspection_passes_the_authenticator_suite() {
    let url = web::serve(|head, body| {
        // The head is in lower case.
        let login = data_encoding::BASE64.encode(b"callgate:canary-secret").to_ascii_lowercase();
        if !head.contains(&login) {
            return ("401 Unauthorized", b"canary-page".to_vec());
        }
        let form = std::str::from_utf8(body).unwrap();
        let token = form.split('&').find_map(|field| field.strip_prefix("token=")).unwrap();
        let now = UnixTime::now().seconds();
        let answer = match token {
            "opq_canary" => {
                json!({ "active": true, "sub": "carol", "aud": "nats", "exp": now + 600 })
            }
            "opq_canary-old" => {
                json!({ "active": true, "sub": "carol", "aud": "nats", "exp": now - 1 })
            }
            "opq_canary-other" => {
                json!({ "active": true, "sub": "carol", "aud": "other", "exp": now + 600 })
            }
            "opq_canary-nameless" => json!({ "active": true, "aud": "nats", "exp": now + 600 }),
            "opq_canary-odd" => json!({ "active": "true" }),
            _ => json!({ "active": false }),
        };
        ("200 OK", answer.to_string().into_bytes())
    })
    .await;
    let with = |url: &str, secret: &str| {
        let toml = format!(
            "[introspection]\nurl = \"{url}\"\nclient_id = \"callgate\"\n\
             client_secret = \"{secret}\"\naudience = \"nats\"\nprefix = \"opq_\"\n\
             password_user = \"token\"\nconnect_timeout = \"20s\""
        );
        build_in(&toml, &context())
    };
    let good = || token("opq_canary");
    let candidate = Candidate {
        authenticator: with(&url, "canary-secret"),
        good: logins([(good(), "carol"), (password("token", "opq_canary"), "carol")]),
        bad: logins([
            (token("opq_canary-unknown"), Reason::BadToken),
            (token("opq_canary-nameless"), Reason::BadToken),
            (token("opq_canary-old"), Reason::TokenExpired),
            (token("opq_canary-other"), Reason::WrongAudience),
            (password("token", "opq_canary-unknown"), Reason::BadToken),
        ]),
        foreign: foreign([
            token("canary-without-prefix"),
            password("token", "canary-without-prefix"),
            password("carol", "opq_canary"),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: vec![
            // Nothing listens on port 1.
            (with("http://127.0.0.1:1/", "canary-secret"), in_time(good())),
            (with(&url, "canary-wrong"), in_time(good())),
            (with(&url, "canary-secret"), too_late(good())),
            (with(&url, "canary-secret"), in_time(token("opq_canary-odd"))),
        ],
        secrets: vec!["canary".to_owned()],
    };
    candidate.check_all().await;
}
