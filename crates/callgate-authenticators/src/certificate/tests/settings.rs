use super::*;

#[test]
fn errors_name_the_key_and_the_remedy() {
    let bench = Bench::new();
    let leaf = bench.root.sign(&alice());
    bench.write("leaf.pem", &leaf.pem);
    bench.write("key.pem", &leaf.key_pem);
    bench.write("empty.pem", "");
    let other = ClientAuthority::root("devices root");
    bench.write("other.crl", other.revocation_list(&[], 2099).pem);
    for (toml, path, text) in [
        ("user = \"cn\"", "", "`ca` is missing"),
        ("ca = \"ca.pem\"", "", "`user` is missing"),
        ("ca = \"ca.pem\"\nuser = \"name\"", "user", "not one of"),
        ("ca = \"ca.pem\"\nuser = \"o\"", "user", "not one of"),
        ("ca = \"ca.pem\"\nuser = \"spiffe\"", "user", "needs `trust_domains`"),
        ("ca = \"missing.pem\"\nuser = \"cn\"", "ca", "missing.pem"),
        ("ca = \"leaf.pem\"\nuser = \"cn\"", "ca", "not a certificate authority"),
        ("ca = \"key.pem\"\nuser = \"cn\"", "ca", "no certificate"),
        ("ca = \"empty.pem\"\nuser = \"cn\"", "ca", "no certificate"),
        ("trust_domains = { }", "trust_domains", "at least one"),
        ("ca = \"ca.pem\"\nuser = \"cn\"\nrequired = { }", "required", "requires nothing"),
        ("trust_domains = { \"Example.org\" = \"ca.pem\" }", "trust_domains", "lowercase"),
        (
            "trust_domains = { \"example.org\" = \"ca.pem\" }\nuser = \"cn\"",
            "user",
            "always the SPIFFE ID",
        ),
        (
            "ca = \"ca.pem\"\ntrust_domains = { \"example.org\" = \"ca.pem\" }",
            "trust_domains",
            "two authenticators",
        ),
        ("ca = \"ca.pem\"\nuser = \"cn\"\ncrl = []", "crl", "at least one file"),
        ("ca = \"ca.pem\"\nuser = \"cn\"\ncrl = \"ca.pem\"", "crl", "no revocation list"),
        ("ca = \"ca.pem\"\nuser = \"cn\"\ncrl = \"empty.pem\"", "crl", "malformed"),
        ("ca = \"ca.pem\"\nuser = \"cn\"\ncrl = \"other.crl\"", "crl", "did not sign it"),
        ("ca = \"ca.pem\"\nuser = \"cn\"\npinned_keys = \"ab\"", "pinned_keys", "64 hex digits"),
        ("ca = \"ca.pem\"\nuser = \"cn\"\nrequired = { cn = \"a\" }", "required.cn", "unknown key"),
        (
            "ca = \"ca.pem\"\nuser = \"cn\"\nrequired = { o = [] }",
            "required.o",
            "must not be empty",
        ),
        ("ca = \"ca.pem\"\nuser = \"cn\"\ngroups = \"cn\"", "groups", ""),
        ("ca = \"ca.pem\"\nuser = \"cn\"\nusers = \"cn\"", "users", "unknown key"),
    ] {
        let (built, report) = bench.report(toml);
        assert!(built.is_none(), "{toml}");
        let found = report
            .faults()
            .iter()
            .any(|fault| fault.path == path && fault.to_string().contains(text));
        assert!(found, "{toml}: {:?}", report.faults());
    }
}

#[test]
fn errors_in_keys_and_files_are_reported_together() {
    let bench = Bench::new();
    bench.write("empty.pem", "");
    let (built, report) = bench.report(
        "ca = \"missing.pem\"\nuser = \"name\"\ncrl = [\"empty.pem\", \"gone.crl\"]\n\
         groups = \"cn\"\nusers = \"cn\"\n\
         trust_domains = { \"Example.org\" = \"ca.pem\", \"example.org\" = \"empty.pem\" }",
    );
    assert!(built.is_none());
    let faults: Vec<String> = report.faults().iter().map(ToString::to_string).collect();
    for text in [
        "missing.pem",
        "not one of `cn`",
        "`empty.pem` is malformed",
        "gone.crl",
        "not `o` or `ou`",
        "users: unknown key",
        "`Example.org` is not a trust domain",
        "`empty.pem` contains no certificate",
        "cannot be combined",
    ] {
        assert_eq!(
            faults.iter().filter(|fault| fault.contains(text)).count(),
            1,
            "{text}: {faults:#?}"
        );
    }
}
