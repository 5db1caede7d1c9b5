//! Rules of ARCHITECTURE.md that the compiler does not check.
//!
//! Comments and test code are exempt: `tests.rs`, `*_tests.rs`, `tests/`, and everything after `#[cfg(test)]` in a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use callgate_testkit::pages::checkout;

/// Which modules of the library a rule applies to, with the modules inside them.
enum Scope {
    Only(&'static [&'static str]),
    Except(&'static [&'static str]),
}

/// Names that some modules of the library must not use.
struct Rule {
    why: &'static str,
    scope: Scope,
    names: &'static [&'static str],
}

const RULES: [Rule; 4] = [
    Rule {
        why: "only `responder` uses the NATS client (`lib.rs` re-exports it)",
        scope: Scope::Except(&["responder", "lib"]),
        names: &["async_nats"],
    },
    Rule {
        why: "pure modules have no runtime, log, I/O or clock",
        scope: Scope::Only(&[
            "subject",
            "json",
            "jwt",
            "permissions",
            "policy",
            "reply/minter",
            "reply/response",
            "reply/user_claims",
        ]),
        names: &[
            "tokio",
            "tracing",
            "std::fs",
            "std::env",
            "std::process",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "async fn",
            "async move",
        ],
    },
    Rule {
        why: "only `clock` reads the wall clock",
        scope: Scope::Except(&["clock"]),
        names: &["SystemTime::now", "Timestamp::now", "Zoned::now"],
    },
    Rule {
        why: "only the service reads files and the environment",
        scope: Scope::Except(&[]),
        names: &["std::env", "std::fs", "tokio::fs"],
    },
];

/// Crates whose top-level modules must not import each other in a cycle.
const ACYCLIC: [&str; 7] = [
    "callgate",
    "callgate-config",
    "callgate-authenticators",
    "callgate-server",
    "callgate-bench",
    "callgate-faults",
    "callgate-matrix",
];

/// Dependencies that must be absent: the names, the arguments of `cargo tree`, and the reason.
const ABSENT: [(&[&str], &[&str], &str); 4] = [
    (
        &["ring", "openssl", "openssl-sys", "native-tls"],
        &["--workspace", "--target", "all"],
        "all cryptography comes from aws-lc-rs, all TLS from rustls",
    ),
    (
        &["async-nats", "rustls", "reqwest", "hyper", "mio"],
        &["--package", "callgate", "--no-default-features", "--edges", "no-dev"],
        "without features the library has no I/O and no NATS client",
    ),
    (
        &["async-nats", "rustls", "reqwest", "hyper", "mio"],
        &["--package", "callgate-config", "--edges", "no-dev"],
        "reading a configuration opens no connection",
    ),
    (
        &["async-nats"],
        &["--package", "callgate-authenticators", "--no-default-features", "--edges", "no-dev"],
        "an authenticator never connects to NATS",
    ),
];

#[test]
fn library_modules_use_only_what_they_may() {
    let mut errors = Vec::new();
    for (module, file) in sources("callgate") {
        for (number, line) in code(&file).lines().enumerate() {
            for rule in RULES.iter().filter(|rule| rule.scope.contains(&module)) {
                for name in rule.names.iter().filter(|name| mentions(line, name)) {
                    errors.push(format!("{file:?}:{}: `{name}`: {}", number + 1, rule.why));
                }
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn top_level_modules_have_no_import_cycles() {
    for name in ACYCLIC {
        let mut imports = imports(name);
        // Modules that import nothing are no part of a cycle, nor are those that import only these.
        while let Some(leaf) =
            imports.iter().find(|(_, of)| of.is_empty()).map(|(leaf, _)| leaf.clone())
        {
            imports.remove(&leaf);
            for of in imports.values_mut() {
                of.remove(&leaf);
            }
        }
        assert!(imports.is_empty(), "{name}: import cycles among {imports:?}");
    }
}

#[test]
fn every_crate_inherits_the_workspace_lints() {
    let workspace = fs::read_to_string(checkout("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""), "the workspace allows unsafe code");
    for entry in fs::read_dir(checkout("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(text.contains("\n[lints]\nworkspace = true\n"), "{manifest:?} has other lints");
    }
}

#[test]
fn forbidden_dependencies_are_absent() {
    for (names, arguments, why) in ABSENT {
        let output = Command::new(env::var_os("CARGO").unwrap())
            .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
            .args(arguments)
            .current_dir(checkout(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        for line in tree.lines() {
            let name = line.split(' ').next().unwrap();
            assert!(!names.contains(&name), "`{name}` is in the tree of {arguments:?}: {why}");
        }
    }
}

impl Scope {
    fn contains(&self, module: &str) -> bool {
        let is_inside = |outer: &&str| Path::new(module).starts_with(outer);
        match self {
            Self::Only(modules) => modules.iter().any(is_inside),
            Self::Except(modules) => !modules.iter().any(is_inside),
        }
    }
}

/// Every source file of a crate that is not a test, with its module as a path: `reply/minter`.
fn sources(name: &str) -> Vec<(String, PathBuf)> {
    let root = checkout("crates").join(name).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if let Some(module) = relative.strip_suffix(".rs")
                && !module.ends_with("tests")
            {
                let module = module.to_owned();
                files.push((module, path));
            }
        }
    }
    assert!(!files.is_empty(), "{root:?} has no sources");
    files
}

/// The code of a file, with empty lines in place of comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    lines.map(|line| if is_comment(line) { "\n".to_owned() } else { format!("{line}\n") }).collect()
}

/// Whether a line has this name as whole words.
fn mentions(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        !line[..at].ends_with(is_word) && !line[at + name.len()..].starts_with(is_word)
    })
}

/// Which top-level modules of the crate every top-level module imports.
fn imports(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let top_level = |(module, file): (String, PathBuf)| {
        (module.split('/').next().unwrap_or_default().to_owned(), file)
    };
    let sources: Vec<_> = sources(name).into_iter().map(top_level).collect();
    let modules: BTreeSet<&str> = sources.iter().map(|(module, _)| module.as_str()).collect();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, file) in &sources {
        let code = code(file);
        let paths = code.split("crate::").skip(1).flat_map(first_segments);
        let others = paths.filter(|path| path != module && modules.contains(path.as_str()));
        imports.entry(module.clone()).or_default().extend(others);
    }
    // The roots declare all modules.
    imports.remove("lib");
    imports.remove("main");
    imports
}

/// The first segment of a path, or of every path in its braces.
fn first_segments(path: &str) -> Vec<String> {
    let word = |text: &str| {
        let text = text.trim_start();
        text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
            .to_owned()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut segments = vec![word(group)];
    let mut depth = 1;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => segments.push(word(&group[at + 1..])),
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    segments
}
