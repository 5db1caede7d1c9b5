//! The table's errors and warnings, and where keys may come from.

use super::*;

#[tokio::test]
async fn errors_name_the_key_and_the_remedy() {
    let bench = Bench::new();
    fs::write(bench.folder.path().join("bad.json"), "{}").unwrap();
    for (toml, path, text) in [
        ("", "", "`issuer` is missing"),
        ("issuer = \"https://a\"", "", "`audience` is missing"),
        ("issuer = \"https://a\"\naudience = []", "audience", "must not be empty"),
        ("issuer = \"https://a\"\naudience = [\"\"]", "audience", "must not be empty"),
        ("issuer = \"http://a\"\naudience = \"n\"", "issuer", "insecure_http"),
        ("issuer = \"a\"\naudience = \"n\"", "issuer", "not a URL"),
        ("issuer = \"https://a/?b=c\"\naudience = \"n\"", "issuer", "query or a fragment"),
        ("issuer = \"https://a/#b\"\naudience = \"n\"", "issuer", "query or a fragment"),
        (
            "issuer = \"https://login.microsoftonline.com/{tenantid}/v2.0\"\naudience = \"n\"",
            "issuer",
            "contains a placeholder: write the `iss` of a token",
        ),
        (
            "issuer = \"https://<domain>/\"\naudience = \"n\"\njwks_file = \"keys.json\"",
            "issuer",
            "contains a placeholder",
        ),
        (
            "issuer = \"https://a/b/.well-known/openid-configuration\"\naudience = \"n\"",
            "issuer",
            "write `https://a/b`",
        ),
        (
            "issuer = \"https://a/.well-known/jwks.json\"\naudience = \"n\"",
            "issuer",
            "write `https://a`",
        ),
        ("jwks_hosts = [\"b\", \"https://c/\"]", "jwks_hosts[1]", "not a host"),
        ("jwks_url = \"http://a\"", "jwks_url", "insecure_http"),
        ("jwks_url = \"https://u:p@a\"", "jwks_url", "user or a password"),
        ("jwks_url = \"https://a\"\njwks_file = \"keys.json\"", "jwks_file", "one of the two"),
        ("jwks_file = \"missing.json\"", "jwks_file", "cannot read"),
        ("jwks_file = \"bad.json\"", "jwks_file", "not a JSON Web Key Set"),
        ("ca = \"missing.pem\"", "ca", "cannot read"),
        ("ca = \"keys.json\"", "ca", "not a PEM"),
        ("algorithms = [\"none\"]", "algorithms[0]", "unsafe"),
        ("algorithms = [\"RS256\", \"HS256\"]", "algorithms[1]", "unsafe"),
        ("algorithms = []", "algorithms", "empty list"),
        ("user_claim = \"a..b\"", "user_claim", "not a path"),
        ("groups_claim = 1", "groups_claim", "must be text"),
        ("required_claims = { a = [] }", "required_claims.a", "matches no token"),
        ("required_claims = { }", "required_claims", "requires nothing"),
        ("required_claims = { a = { b = 1 } }", "required_claims.a", "must be text"),
        ("types = []", "types", "must not be empty"),
        ("leeway = \"1h\"", "leeway", "five minutes"),
        ("leeway = 30", "leeway", "unit"),
        ("max_token_lifetime = \"0s\"", "max_token_lifetime", "greater than zero"),
        ("insecure_http = \"yes\"", "insecure_http", "true or false"),
        ("audiense = \"n\"", "audiense", "audience"),
    ] {
        let base = "issuer = \"https://a.example\"\naudience = \"n\"\n";
        let whole = toml.is_empty() || toml.starts_with("issuer");
        let toml = if whole { toml.to_owned() } else { format!("{base}{toml}") };
        let faults = bench.try_build("a", 0, &toml).unwrap_err();
        let found = faults.iter().any(|fault| fault.starts_with(path) && fault.contains(text));
        assert!(found, "{toml}\n{faults:?}");
    }
}

#[tokio::test]
async fn optional_key_file_may_appear_later() {
    let bench = Bench::new();
    let toml = format!("issuer = \"{ISSUER}\"\njwks_file = \"later.json\"\naudience = \"nats\"");
    let optional = |context: &mut BuildContext| context.required = false;
    let (oidc, warnings) = bench.build_as(&toml, optional);
    assert!(warnings[0].starts_with("jwks_file: cannot read"), "{warnings:?}");
    let token = EC.token(&claims(json!({})));
    let answer = oidc.identify(&token, at(0)).await;
    let Err(Decline::Unavailable(error)) = &answer else { panic!("{}", word(&answer)) };
    assert!(error.to_string().contains("later.json"), "{error}");
    fs::write(bench.folder.path().join("later.json"), key_set(&[&EC])).unwrap();
    // What the background refresh does every two seconds.
    oidc.verifier.keys.preload(key_set(&[&EC]).as_bytes()).unwrap();
    assert_eq!(judge(&oidc, &token).await, "ok");
}

#[test]
fn unusable_keys_in_a_file_are_warned_about() {
    let bench = Bench::new();
    let (mut numeric, mut unknown) = (RSA.jwk(), RSA.jwk());
    numeric["kid"] = json!(7);
    unknown["alg"] = json!("RS1");
    let set = json!({"keys": [EC.jwk(), numeric, unknown]}).to_string();
    fs::write(bench.folder.path().join("some.json"), set).unwrap();
    let toml = format!("issuer = \"{ISSUER}\"\njwks_file = \"some.json\"\naudience = \"nats\"");
    let (_, warnings) = bench.build_as(&toml, |_| {});
    let [numeric, unknown] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(numeric.starts_with("jwks_file: key 1 is refused: `kid`"), "{numeric}");
    assert!(unknown.starts_with("jwks_file: key `rsa` is not used: its `alg`"), "{unknown}");
}

#[test]
fn claim_named_by_a_url_is_warned_about() {
    let bench = Bench::new();
    let (url, pointer) = ("https://acme.com/roles", "`/https:~1~1acme.com~1roles`");
    for (more, path) in [
        (format!("groups_claim = \"{url}\""), Some("groups_claim")),
        (format!("user_claim = \"{url}\""), Some("user_claim")),
        (format!("required_claims = {{ \"{url}\" = true }}"), Some("required_claims")),
        ("groups_claim = \"/https:~1~1acme.com~1roles\"".to_owned(), None),
        ("groups_claim = \"realm_access.roles\"".to_owned(), None),
    ] {
        let toml =
            format!("issuer = \"{ISSUER}\"\naudience = \"n\"\njwks_file = \"keys.json\"\n{more}");
        let (_, warnings) = bench.build_as(&toml, |_| {});
        match path {
            Some(path) => {
                assert!(warnings[0].starts_with(path), "{warnings:?}");
                assert!(warnings[0].contains(pointer), "{warnings:?}");
            }
            None => assert!(warnings.is_empty(), "{warnings:?}"),
        }
    }
}

#[tokio::test]
async fn keys_are_discovered_only_on_allowed_hosts() {
    let bench = Bench::new();
    let server = TestServer::start().await;
    let issuer = server.url("/realm");
    let document = "/realm/.well-known/openid-configuration";
    server.on("/keys", Reply::json(&key_set(&[&EC])));
    let toml = |more: &str| {
        format!("issuer = \"{issuer}\"\naudience = \"nats\"\ninsecure_http = true\n{more}")
    };
    let token = EC.token(&claims(json!({"iss": issuer})));
    let metadata = |issuer: &str, keys: &str| {
        Reply::json(&json!({"issuer": issuer, "jwks_uri": keys, "x": {"y": []}}).to_string())
    };
    let keys = server.url("/keys");
    let elsewhere = keys.replace("127.0.0.1", "localhost");
    let hosts = "jwks_hosts = [\"LocalHost\"]";
    let place = elsewhere.split('/').nth(2).unwrap();
    let with_port = format!("jwks_hosts = \"{place}\"");
    let names_port = format!("is on the host `{place}`");
    let other = TestServer::start().await;
    other.on("/keys", Reply::json(&key_set(&[&EC])));
    let other_port = other.url("/keys");
    let own_host = "jwks_hosts = [\"127.0.0.1\"]";
    let names_own_host = format!(
        "is on the host `{}`: add it to `jwks_hosts`",
        other_port.split('/').nth(2).unwrap()
    );
    let other_scheme = keys.replace("http:", "https:");
    for (number, (reply, more, expected)) in [
        (metadata(&issuer, &keys), "", "ok"),
        (metadata(&issuer, &elsewhere), "", &names_port),
        // A process on another port of the issuer's host may belong to someone else.
        (metadata(&issuer, &other_port), "", &names_own_host),
        (metadata(&issuer, &other_port), own_host, "ok"),
        (metadata(&issuer, &other_scheme), "", "add it to `jwks_hosts`"),
        (metadata(&issuer, &elsewhere), hosts, "ok"),
        (metadata(&issuer, &elsewhere), &with_port, "ok"),
        (metadata(&issuer, &elsewhere), "jwks_hosts = [\"localhost:1\"]", &names_port),
        (metadata(&format!("{issuer}/"), &keys), "", "not for"),
        (metadata("https://evil.example", &keys), "", "not for"),
        (metadata(&issuer, "file:///etc/passwd"), "", "scheme"),
        (metadata(&issuer, &server.url("/missing")), "", "answered 404"),
        (metadata(&issuer, &server.url(document)), "", "not a JSON Web Key Set"),
        (Reply::json("{}"), "", "not for"),
        (Reply::json("<html>"), "", "not a JSON object"),
        (Reply::json(&format!(r#"{{"issuer":"{issuer}"}}"#)), "", "no text `jwks_uri`"),
        (Reply::with_head("302 Found", "location: /keys\r\n", ""), "", "redirects"),
        (Reply::Endless, "", "longer than"),
    ]
    .into_iter()
    .enumerate()
    {
        server.on(document, reply);
        let oidc = bench.try_build(&format!("a{number}"), number as u64, &toml(more)).unwrap();
        let answer = oidc.identify(&token, at(0)).await;
        match &answer {
            Err(Decline::Unavailable(error)) => {
                assert!(error.to_string().contains(expected), "{expected}: {error}");
                let Readiness::Waiting(text) = oidc.readiness() else { panic!("ready") };
                assert!(text.contains(expected) && text.contains(document), "{text}");
            }
            answer => assert_eq!(word(answer), expected),
        }
    }
}

#[tokio::test]
async fn keys_survive_an_outage_of_the_provider() {
    let bench = Bench::new();
    let server = TestServer::start().await;
    server.on("/keys", Reply::json(&key_set(&[&EC])));
    let toml = format!(
        "issuer = \"{ISSUER}\"\naudience = \"nats\"\ninsecure_http = true\njwks_url = \"{}\"",
        server.url("/keys")
    );
    let oidc = bench.try_build("a", 0, &toml).unwrap();
    assert!(matches!(oidc.readiness(), Readiness::Waiting(_)));
    assert_eq!(judge(&oidc, &EC.token(&claims(json!({})))).await, "ok");
    assert_eq!(oidc.readiness(), Readiness::Ready);
    drop(server);
    assert_eq!(judge(&oidc, &EC.token(&claims(json!({"sub": "bob"})))).await, "ok");
    let gone = bench.try_build("b", 1, &toml).unwrap();
    // Even now, another issuer's token is not refused; its own cannot be verified.
    assert_eq!(judge(&gone, &EC.token(&claims(json!({"iss": "x"})))).await, "not_mine");
    assert_eq!(judge(&gone, &EC.token(&claims(json!({})))).await, "unavailable");
    let Readiness::Waiting(text) = gone.readiness() else { panic!("ready") };
    assert!(text.contains("refused") && text.contains("/keys"), "{text}");
}
