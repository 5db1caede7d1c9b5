//! Chains, names and revocation, with certificates of authorities of the tests.

use std::{fs, path::Path};

use callgate::{
    authn::Decline,
    clock::UnixTime,
    record::Reason,
    request::{AuthRequest, Certificate, Credential},
};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_testkit::client_certificates::{
    CertificateParams, ClientAuthority, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, authority_params, client_params, date_time_ymd, dns, email,
    rcgen::{GeneralSubtree, NameConstraints},
    uri,
};

use super::*;
use crate::kind::SharedResources;

mod settings;

/// Authorities and a folder with their files.
struct Bench {
    folder: tempfile::TempDir,
    root: ClientAuthority,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            root: ClientAuthority::root("devices root"),
        };
        bench.write("ca.pem", bench.root.pem());
        bench
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn context(&self) -> BuildContext {
        BuildContext::new(
            "devices",
            Sources::new(self.path()),
            Arc::new(SharedResources::default()),
        )
    }

    fn report(&self, toml: &str) -> (Option<Certificates>, Report) {
        self.report_in(&self.context(), toml)
    }

    fn report_in(&self, context: &BuildContext, toml: &str) -> (Option<Certificates>, Report) {
        let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
        let report = Report::new();
        let sources = context.services.sources.clone();
        let table = Table::root(&document, "", &report, &sources)
            .with_keys(callgate_config::Type::Table(config::KEYS));
        let built = Certificates::build(context, table);
        (built, report)
    }

    fn build(&self, toml: &str) -> Certificates {
        let (built, report) = self.report(toml);
        built.unwrap_or_else(|| panic!("{:?}", report.faults()))
    }

    /// With the root of the devices and this kind of user.
    fn with_user(&self, user: &str) -> Certificates {
        self.build(&format!("ca = \"ca.pem\"\nuser = \"{user}\""))
    }

    /// The chain of a certificate that the root signed.
    fn chain(&self, params: &CertificateParams) -> Vec<String> {
        vec![self.root.sign(params).pem, self.root.pem().to_owned()]
    }
}

fn certificate(chains: Vec<Vec<String>>) -> Certificate {
    Certificate {
        verified_chains: chains,
        tls_version: "1.3".to_owned(),
        cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
    }
}

fn identify(authenticator: &Certificates, chain: Vec<String>) -> Result<Identity, Decline> {
    identify_at(authenticator, chain, UnixTime::now())
}

fn identify_at(
    authenticator: &Certificates,
    chain: Vec<String>,
    now: UnixTime,
) -> Result<Identity, Decline> {
    authenticator.identify(&certificate(vec![chain]), now)
}

#[track_caller]
fn assert_rejected(answer: Result<Identity, Decline>, reason: Reason, text: &str) {
    match answer {
        Err(Decline::Rejected(rejection)) => {
            assert_eq!(rejection.reason, reason, "{rejection:?}");
            assert!(rejection.detail.contains(text), "{rejection:?}");
        }
        other => panic!("{other:?} instead of {text}"),
    }
}

#[track_caller]
fn assert_unavailable(answer: Result<Identity, Decline>, text: &str) {
    match answer {
        Err(Decline::Unavailable(error)) => assert!(error.to_string().contains(text), "{error}"),
        other => panic!("{other:?} instead of {text}"),
    }
}

fn alice() -> CertificateParams {
    client_params("alice", vec![], 1)
}

fn svid(id: &str) -> CertificateParams {
    client_params("", vec![uri(id)], 1)
}

#[test]
fn certificate_identifies_its_holder() {
    let bench = Bench::new();
    let mut params = alice();
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "eng");
    let names = [dns("alice.example"), email("alice@example.com"), uri("urn:alice")];
    params.subject_alt_names = names.to_vec();
    params.not_after = date_time_ymd(2090, 1, 1);
    let chain = bench.chain(&params);
    for (kind, user) in [
        ("cn", "alice"),
        ("dns", "alice.example"),
        ("email", "alice@example.com"),
        ("uri", "urn:alice"),
        ("subject", "OU=eng,O=Acme,CN=alice"),
    ] {
        let identity = identify(&bench.with_user(kind), chain.clone()).unwrap();
        assert_eq!(identity.user, user);
        assert_eq!(identity.expires_at.unwrap().to_string(), "2090-01-01T00:00:00Z");
        assert_eq!(identity.claims["certificate"]["issuer"], "CN=devices root");
        assert_eq!(identity.groups, Vec::<String>::new());
    }
    let digest = identify(&bench.with_user("sha256"), chain.clone()).unwrap();
    assert_eq!(digest.user, digest.claims["certificate"]["sha256"].as_str().unwrap());
    let grouped = bench.build("ca = \"ca.pem\"\nuser = \"cn\"\ngroups = \"ou\"");
    assert_eq!(identify(&grouped, chain).unwrap().groups, ["eng"]);
}

#[tokio::test]
async fn certificate_beside_another_credential_is_not_mine() {
    let bench = Bench::new();
    let devices = bench.with_user("cn");
    let verified = certificate(vec![bench.chain(&alice())]);
    let with = |credential| AuthRequest::for_tests(credential).with_certificate(verified.clone());
    assert!(devices.authenticate(&with(Credential::Certificate)).await.is_ok());
    for request in [
        with(Credential::Token("t".into())),
        with(Credential::Password { user: "alice".to_owned(), password: "p".into() }),
        AuthRequest::for_tests(Credential::Certificate),
    ] {
        let answer = devices.authenticate(&request).await;
        assert!(matches!(answer, Err(Decline::NotMine)), "{answer:?}");
    }
}

#[test]
fn certificate_only_verified_chains_count() {
    let bench = Bench::new();
    let devices = bench.with_user("cn");
    // Another authority of the same name, such as one of the system's.
    let other = ClientAuthority::root("devices root");
    let foreign = vec![other.sign(&alice()).pem, other.pem().to_owned()];
    assert_rejected(
        identify(&devices, foreign.clone()),
        Reason::BadCertificate,
        "none of the roots",
    );
    // A leaf that claims to be below our root, which did not sign it.
    let borrowed = vec![other.sign(&alice()).pem, bench.root.pem().to_owned()];
    assert_rejected(identify(&devices, borrowed), Reason::BadCertificate, "none of the roots");
    let mut server = alice();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let answer = identify(&devices, bench.chain(&server));
    assert_rejected(answer, Reason::BadCertificate, "client authentication");
    for chains in [vec![], vec![vec![]], vec![vec!["no PEM".to_owned()]]] {
        let answer = devices.identify(&certificate(chains), UnixTime::now());
        assert_rejected(answer, Reason::BadCertificate, "nats-server sent");
    }
    // Chains of two certificates: which one did the client prove?
    let chains = vec![bench.chain(&alice()), bench.chain(&client_params("bob", vec![], 2))];
    let answer = devices.identify(&certificate(chains), UnixTime::now());
    assert_rejected(answer, Reason::BadCertificate, "different certificates");
    // Several chains of one certificate are normal with cross-signed roots.
    let own = bench.chain(&alice());
    let chains = vec![vec![own[0].clone(), other.pem().to_owned()], own];
    assert_eq!(devices.identify(&certificate(chains), UnixTime::now()).unwrap().user, "alice");
}

#[test]
fn certificate_without_extended_key_usage_counts() {
    let bench = Bench::new();
    let mut params = alice();
    params.extended_key_usages = vec![];
    assert!(identify(&bench.with_user("cn"), bench.chain(&params)).is_ok());
    params.key_usages = vec![];
    assert!(identify(&bench.with_user("cn"), bench.chain(&params)).is_ok());
    params.key_usages = vec![KeyUsagePurpose::DataEncipherment];
    let answer = identify(&bench.with_user("cn"), bench.chain(&params));
    assert_rejected(answer, Reason::BadCertificate, "digitalSignature");
}

#[test]
fn intermediate_must_be_an_authority() {
    let bench = Bench::new();
    let devices = bench.with_user("cn");
    let with = |intermediate: &ClientAuthority| {
        let leaf = intermediate.sign(&alice()).pem;
        vec![leaf, intermediate.pem().to_owned(), bench.root.pem().to_owned()]
    };
    assert!(identify(&devices, with(&bench.root.intermediate("issuing", 2099))).is_ok());
    let mut params = authority_params("leaf that signs", 2099);
    params.is_ca = IsCa::ExplicitNoCa;
    let answer = identify(&devices, with(&bench.root.intermediate_with(params)));
    assert_rejected(answer, Reason::BadCertificate, "");
    let mut params = authority_params("signs lists only", 2099);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let answer = identify(&devices, with(&bench.root.intermediate_with(params)));
    assert_rejected(answer, Reason::BadCertificate, "signing certificates");
}

#[test]
fn name_constraints_of_an_intermediate_count() {
    let bench = Bench::new();
    let devices = bench.with_user("dns");
    let mut params = authority_params("constrained", 2099);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
        excluded_subtrees: vec![],
    });
    let constrained = bench.root.intermediate_with(params);
    let with = |name: &str| {
        let leaf = constrained.sign(&client_params("", vec![dns(name)], 1)).pem;
        vec![leaf, constrained.pem().to_owned(), bench.root.pem().to_owned()]
    };
    assert_eq!(identify(&devices, with("a.example.com")).unwrap().user, "a.example.com");
    let answer = identify(&devices, with("a.example.org"));
    assert_rejected(answer, Reason::BadCertificate, "NameConstraintViolation");
}

#[test]
fn certificate_same_serial_and_issuer_other_key() {
    let bench = Bench::new();
    let pinned = bench.root.sign(&alice());
    let key = client_certificate::parse(&pinned.der)
        .map(|leaf| Names::of(&leaf, &pinned.der))
        .unwrap()
        .unwrap();
    let devices = bench.build(&format!(
        "ca = \"ca.pem\"\nuser = \"cn\"\npinned_keys = [\"{}\"]",
        key.key_sha256.to_ascii_uppercase()
    ));
    let chain = |leaf: String| vec![leaf, bench.root.pem().to_owned()];
    assert_eq!(identify(&devices, chain(pinned.pem)).unwrap().user, "alice");
    // The same names, issuer and serial number.
    let twin = bench.root.sign(&alice());
    assert_rejected(identify(&devices, chain(twin.pem)), Reason::BadCertificate, "pinned_keys");
}

#[test]
fn certificate_with_two_names_is_refused() {
    let bench = Bench::new();
    let two = |list: Vec<SanType>| bench.chain(&client_params("alice", list, 1));
    for (kind, chain, text) in [
        ("dns", two(vec![dns("a"), dns("b")]), "2 names `dns`"),
        ("email", two(vec![email("a@b"), email("c@d")]), "2 names `email`"),
        ("uri", two(vec![uri("urn:a"), uri("urn:b")]), "2 names `uri`"),
        ("dns", two(vec![]), "no `dns`"),
        ("cn", bench.chain(&client_params("", vec![dns("a")], 1)), "no `cn`"),
        ("subject", bench.chain(&client_params("", vec![dns("a")], 1)), "no `subject`"),
        ("cn", bench.chain(&client_params("a\0b", vec![], 1)), "invisible"),
        // A name that nothing asks for could still deceive a reader of the log.
        ("cn", two(vec![dns("a\0b")]), "invisible"),
        ("cn", bench.chain(&client_params(&"a".repeat(513), vec![], 1)), "more than 512 bytes"),
    ] {
        assert_rejected(identify(&bench.with_user(kind), chain), Reason::BadCertificate, text);
    }
    // An ID in the common name is not a SPIFFE ID.
    bench.write("bundle.pem", bench.root.pem());
    let mesh = bench.build("trust_domains = { \"example.org\" = \"bundle.pem\" }");
    let chain = bench.chain(&client_params("spiffe://example.org/a", vec![], 1));
    assert_rejected(identify(&mesh, chain), Reason::BadCertificate, "no URI");
    let chain =
        bench.chain(&client_params("", vec![uri("spiffe://example.org/a"), uri("urn:b")], 1));
    assert_rejected(identify(&mesh, chain), Reason::BadCertificate, "2 URIs");
}

#[test]
fn required_names_are_compared_exactly() {
    let bench = Bench::new();
    let mut params = client_params("alice", vec![dns("a.devices.example")], 1);
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "eng");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "ops");
    let chain = bench.chain(&params);
    for (required, good) in [
        ("o = \"Acme\"", true),
        ("o = \"acme\"", false),
        ("o = \"Acm\"", false),
        ("o = \"Acm*\"", true),
        ("o = [\"Other\", \"Acme\"]", true),
        ("ou = \"ops\"", true),
        ("ou = \"*ps\"", false),
        ("dns = \"a.*\"", true),
        ("issuer = \"CN=devices root\"", true),
        ("issuer = \"CN=devices\"", false),
        ("email = \"*\"", false),
        ("o = \"Acme\", ou = \"sales\"", false),
    ] {
        let toml = format!("ca = \"ca.pem\"\nuser = \"cn\"\nrequired = {{ {required} }}");
        let answer = identify(&bench.build(&toml), chain.clone());
        match good {
            true => assert!(answer.is_ok(), "{required}: {answer:?}"),
            false => assert_rejected(answer, Reason::BadCertificate, "`required`"),
        }
    }
}

#[test]
fn certificate_trust_domain_a_cannot_vouch_for_b() {
    let bench = Bench::new();
    let (a, b) = (ClientAuthority::root("a"), ClientAuthority::root("b"));
    bench.write("a.pem", a.pem());
    bench.write("b.pem", b.pem());
    let toml = "trust_domains = { \"a.example\" = \"a.pem\", \"b.example\" = \"b.pem\" }";
    let signed = |authority: &ClientAuthority, id: &str| {
        vec![authority.sign(&svid(id)).pem, authority.pem().to_owned()]
    };
    let mut followed = bench.context();
    followed.chain.same_kind_follows = true;
    for context in [bench.context(), followed.clone()] {
        let mesh = bench.report_in(&context, toml).0.unwrap();
        let identity = identify(&mesh, signed(&a, "spiffe://a.example/ns/prod")).unwrap();
        assert_eq!(identity.user, "spiffe://a.example/ns/prod");
        let expected = json!({ "trust_domain": "a.example", "path": "/ns/prod" });
        assert_eq!(identity.claims["spiffe"], expected);
        // Both chains end in a root of ours, so no later authenticator may judge them.
        let answer = identify(&mesh, signed(&a, "spiffe://b.example/ns/prod"));
        assert_rejected(answer, Reason::BadCertificate, "may vouch for it");
        let answer = identify(&mesh, signed(&a, "spiffe://c.example/ns/prod"));
        assert_rejected(answer, Reason::BadCertificate, "may vouch for it");
        let answer = identify(&mesh, signed(&a, "spiffe://A.example/ns/prod"));
        assert_rejected(answer, Reason::BadCertificate, "lowercase");
    }
    // An authority's own certificate is not a workload.
    let mut params = svid("spiffe://a.example/ca");
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let mesh = bench.build(toml);
    let chain = vec![a.sign(&params).pem, a.pem().to_owned()];
    assert_rejected(identify(&mesh, chain), Reason::BadCertificate, "may sign certificates");
}

#[test]
fn unknown_root_is_left_to_the_next_certificate_authenticator() {
    let bench = Bench::new();
    let other = ClientAuthority::root("other");
    let chain = vec![other.sign(&alice()).pem, other.pem().to_owned()];
    let mut followed = bench.context();
    followed.chain.same_kind_follows = true;
    let devices = bench.report_in(&followed, "ca = \"ca.pem\"\nuser = \"cn\"").0.unwrap();
    assert!(matches!(identify(&devices, chain.clone()), Err(Decline::NotMine)));
    let last = bench.with_user("cn");
    assert_rejected(identify(&last, chain.clone()), Reason::BadCertificate, "none of the roots");
    // The same for a certificate without an ID, which names no trust domain.
    let toml = "trust_domains = { \"example.org\" = \"ca.pem\" }";
    let mesh = bench.report_in(&followed, toml).0.unwrap();
    assert!(matches!(identify(&mesh, chain), Err(Decline::NotMine)));
    let own = bench.chain(&alice());
    assert_rejected(identify(&mesh, own), Reason::BadCertificate, "no URI");
}

#[test]
fn certificate_session_ends_with_the_chain() {
    let bench = Bench::new();
    let root = ClientAuthority::root_until("short root", 2060);
    bench.write("short.pem", root.pem());
    let devices = bench.build("ca = \"short.pem\"\nuser = \"cn\"");
    let end = |root: &ClientAuthority, intermediate: i32, leaf: i32| {
        let issuing = root.intermediate("issuing", intermediate);
        let mut params = alice();
        params.not_after = date_time_ymd(leaf, 1, 1);
        let leaf = issuing.sign(&params).pem;
        let chain = vec![leaf, issuing.pem().to_owned(), root.pem().to_owned()];
        identify(&devices, chain).unwrap().expires_at.unwrap().to_string()
    };
    assert_eq!(end(&root, 2059, 2058), "2058-01-01T00:00:00Z");
    assert_eq!(end(&root, 2057, 2058), "2057-01-01T00:00:00Z");
    assert_eq!(end(&root, 2070, 2080), "2060-01-01T00:00:00Z");
    let late = UnixTime::from_seconds(date_time_ymd(2061, 1, 1).unix_timestamp());
    let chain = |params: &CertificateParams| vec![root.sign(params).pem, root.pem().to_owned()];
    let answer = identify_at(&devices, chain(&alice()), late);
    assert_rejected(answer, Reason::BadCertificate, "root has expired");
    let mut expired = alice();
    expired.not_after = date_time_ymd(2021, 1, 1);
    let answer = identify(&devices, chain(&expired));
    assert_rejected(answer, Reason::BadCertificate, "has expired");
    let mut early = alice();
    early.not_before = date_time_ymd(2058, 1, 1);
    assert_rejected(identify(&devices, chain(&early)), Reason::BadCertificate, "not valid yet");
}

#[test]
fn certificate_revoked_or_crl_stale_or_missing() {
    let bench = Bench::new();
    let issuing = bench.root.intermediate("issuing", 2099);
    let chain = |serial| {
        let leaf = issuing.sign(&client_params("alice", vec![], serial)).pem;
        vec![leaf, issuing.pem().to_owned(), bench.root.pem().to_owned()]
    };
    bench.write("root.crl", &bench.root.revocation_list(&[], 2099).der);
    bench.write("issuing.crl", bench.root.revocation_list(&[], 2099).pem);
    bench.write("leaf.crl", issuing.revocation_list(&[13], 2099).pem);
    let base = "ca = \"ca.pem\"\nuser = \"cn\"\n";
    let both = bench.build(&format!("{base}crl = [\"root.crl\", \"leaf.crl\"]"));
    assert_eq!(identify(&both, chain(1)).unwrap().user, "alice");
    assert_rejected(identify(&both, chain(13)), Reason::CertificateRevoked, "revoked");
    // Every certificate below the root must be covered.
    let root_only = bench.build(&format!("{base}crl = \"root.crl\""));
    assert_unavailable(identify(&root_only, chain(1)), "no revocation list covers");
    let leaf_only = bench.build(&format!("{base}crl = \"leaf.crl\""));
    assert_unavailable(identify(&leaf_only, chain(1)), "no revocation list covers");
    let leaf_only = bench.build(&format!("{base}crl = \"leaf.crl\"\ncrl_end_entity_only = true"));
    assert!(identify(&leaf_only, chain(1)).is_ok());
    assert_rejected(identify(&leaf_only, chain(13)), Reason::CertificateRevoked, "revoked");
    // A list of another issuer with the same name covers nothing.
    let twin = bench.root.intermediate("issuing", 2099);
    bench.write("twin.crl", twin.revocation_list(&[], 2099).pem);
    let twins = bench.build(&format!("{base}crl = [\"root.crl\", \"twin.crl\"]"));
    assert_unavailable(identify(&twins, chain(1)), "not signed by its issuer");
    // A stale list is a warning for `check`, and refuses every login.
    bench.write("stale.crl", issuing.revocation_list(&[], 2021).pem);
    let (stale, report) = bench.report(&format!("{base}crl = [\"root.crl\", \"stale.crl\"]"));
    assert!(report.warnings().iter().any(|one| one.to_string().contains("stale")), "{report:?}");
    assert_unavailable(identify(&stale.unwrap(), chain(1)), "stale");
    // The certificate of a foreign authority does not make a list necessary.
    let other = ClientAuthority::root("other");
    let foreign = vec![other.sign(&alice()).pem, other.pem().to_owned()];
    assert_rejected(identify(&both, foreign), Reason::BadCertificate, "none of the roots");
}

#[test]
fn changed_files_are_reconciled() {
    let bench = Bench::new();
    let chain = |serial| bench.chain(&client_params("alice", vec![], serial));
    bench.write("devices.crl", bench.root.revocation_list(&[], 2099).pem);
    let devices = bench.build("ca = \"ca.pem\"\nuser = \"cn\"\ncrl = \"devices.crl\"");
    assert!(identify(&devices, chain(2)).is_ok());
    let reload = || devices.trust.reload();
    bench.write("devices.crl", bench.root.revocation_list(&[2], 2099).pem);
    assert!(reload());
    assert_rejected(identify(&devices, chain(2)), Reason::CertificateRevoked, "revoked");
    // A broken or missing list does not leave the previous one in force.
    bench.write("devices.crl", "broken");
    assert!(!reload());
    assert_unavailable(identify(&devices, chain(1)), "malformed");
    fs::remove_file(bench.path().join("devices.crl")).unwrap();
    assert!(!reload());
    assert_unavailable(identify(&devices, chain(1)), "devices.crl");
    bench.write("devices.crl", bench.root.revocation_list(&[2], 2099).pem);
    assert!(reload());
    assert!(identify(&devices, chain(1)).is_ok());
    // Broken roots leave the old ones in force; other roots end the trust in the old.
    bench.write("ca.pem", "broken");
    assert!(!reload());
    assert!(identify(&devices, chain(1)).is_ok());
    bench.write("ca.pem", ClientAuthority::root("new root").pem());
    assert!(reload());
    assert_rejected(identify(&devices, chain(1)), Reason::BadCertificate, "none of the roots");
}
