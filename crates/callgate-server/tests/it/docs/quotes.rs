//! Configurations in the documentation are valid, and quoted output is what the commands print.
//!
//! A `toml` block that begins with `# callgate.toml` is a whole configuration. A `console` block with
//! `callgate check` or `callgate explain` uses the last configuration before it. In quoted output a line
//! `…` stands for any lines and `…` in a line for any text; times are not compared.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use callgate_testkit::{
    oidc_provider::{Authority, SigningKey},
    service::command,
};
use serde_json::json;
use toml::Value;

use super::{Page, assert_none, pages};
use crate::support::{CALLGATE, callgate_in, run, write_private};

const PASSWORD: &str = "correct horse";
/// What a token that a page refers to says.
const CLAIMS: [(&str, &str, &[&str]); 1] = [("anna", "red", &["staff", "reader", "admin"])];

#[test]
fn every_configuration_is_valid() {
    let mut errors = Vec::new();
    for page in pages() {
        for (line, text) in configurations(&page.text) {
            let folder = Folder::new();
            fs::write(folder.path("callgate.toml"), text).unwrap();
            folder.write_referenced_files(text);
            let ran = callgate_in(folder.0.path(), &["check", "--config", "callgate.toml"]);
            if ran.code != 0 {
                errors.push(format!(
                    "{:?}:{line}: invalid configuration:\n{}",
                    page.path,
                    ran.text()
                ));
            }
        }
    }
    assert_none(errors);
}

#[test]
fn every_quoted_output_is_current() {
    let bless = env::var_os("CALLGATE_BLESS").is_some();
    let mut errors = Vec::new();
    for page in pages() {
        let mut text = page.text.clone();
        for quote in quotes(&page) {
            let printed = quote.run();
            let Some(line) = first_difference(&quote.output, &printed) else { continue };
            if bless && !quote.output.contains(&"…") {
                let old = quote.output.join("\n");
                text = text.replace(&old, &merged(&quote.output, &printed).join("\n"));
                continue;
            }
            let printed = printed.join("\n");
            errors.push(format!(
                "{:?}:{}: `{}` does not print `{line}`, but:\n{printed}",
                page.path, quote.line, quote.command
            ));
        }
        if text != page.text {
            fs::write(&page.path, text).unwrap();
        }
    }
    assert_none(errors);
}

/// The fenced blocks of a language: the number of the first line, and the text.
pub(super) fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let opening = format!("```{language}\n");
    let mut blocks = Vec::new();
    for (start, _) in text.match_indices(&opening) {
        let body = &text[start + opening.len()..];
        let body = &body[..body.find("\n```").map_or(body.len(), |end| end + 1)];
        blocks.push((text[..start].lines().count() + 2, body));
    }
    blocks
}

pub(super) fn configurations(text: &str) -> Vec<(usize, &str)> {
    let whole = blocks(text, "toml").into_iter();
    whole.filter(|(_, body)| body.starts_with("# callgate.toml\n")).collect()
}

/// The configuration with time for slow machines, if it sets no limit itself.
pub(super) fn patient(configuration: &str) -> String {
    match configuration.contains("timeout") {
        true => configuration.to_owned(),
        false => {
            configuration.replace("[[authenticators]]\n", "[[authenticators]]\ntimeout = \"60s\"\n")
        }
    }
}

/// The same for nats-server.
pub(super) fn patient_server(configuration: &str) -> String {
    configuration.replace("\nauthorization {\n", "\nauthorization {\n  timeout: 30\n")
}

/// A command and the output that a page quotes.
struct Quote<'a> {
    line: usize,
    command: String,
    output: Vec<&'a str>,
    configuration: Option<&'a str>,
}

fn quotes(page: &Page) -> Vec<Quote<'_>> {
    let configurations = configurations(&page.text);
    let mut quotes: Vec<Quote<'_>> = Vec::new();
    for (line, block) in blocks(&page.text, "console") {
        let before = configurations.iter().rfind(|(of, _)| *of < line);
        let configuration = before.map(|(_, text)| *text);
        let mut continued = false;
        let mut own: Vec<Quote<'_>> = Vec::new();
        for text in block.lines() {
            match (text.strip_prefix("$ "), own.last_mut()) {
                (Some(command), _) => {
                    let command = command.to_owned();
                    own.push(Quote { line, command, output: Vec::new(), configuration });
                }
                (None, Some(quote)) if continued => quote.command += &format!("\n{text}"),
                (None, Some(quote)) => quote.output.push(text),
                (None, None) => (),
            }
            continued =
                text.ends_with('\\') && own.last().is_some_and(|quote| quote.output.is_empty());
        }
        quotes.append(&mut own);
    }
    quotes.retain(Quote::is_reproducible);
    quotes
}

/// The commands of a page whose output is compared.
pub(super) fn compared_commands(page: &Page) -> Vec<String> {
    quotes(page).into_iter().map(|quote| quote.command).collect()
}

impl Quote<'_> {
    /// Whether the page has all that the command needs.
    fn is_reproducible(&self) -> bool {
        let is_check = self.command.starts_with("callgate check ");
        let about_users = self.output.iter().any(|line| line.contains("users.json: "));
        let shown = !is_check || (self.configuration.is_some() && !about_users);
        !self.output.is_empty()
            && shown
            && (is_check || self.command.starts_with("callgate explain "))
    }

    fn run(&self) -> Vec<String> {
        let folder = Folder::new();
        let mut variables = vec![("PW", PASSWORD.to_owned()), ("BOB", "bob".to_owned())];
        if self.command.contains("gate/callgate.toml") {
            let shown = callgate_in(folder.0.path(), &["init", "gate"]).stdout;
            let words = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let bob = words.into_iter().find(|words| words.first() == Some(&"bob")).unwrap();
            variables[1].1 = bob[1].to_owned();
        } else if let Some(text) = self.configuration {
            variables.extend(folder.write_for_logins(text));
        } else {
            callgate_in(folder.0.path(), &["init", "--demo", "."]);
        }
        if self.command.starts_with("callgate explain ") {
            for name in ["callgate.toml", "gate/callgate.toml"] {
                if let Ok(text) = fs::read_to_string(folder.path(name)) {
                    fs::write(folder.path(name), patient(&text)).unwrap();
                }
            }
        }
        let mut path = Path::new(CALLGATE).parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut shell = command("sh", folder.0.path(), &["-c", &self.command]);
        let ran = run(shell.env("PATH", path).envs(variables), b"");
        ran.stdout.lines().map(str::to_owned).collect()
    }
}

/// A folder with the files that a configuration refers to.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file of the right kind for every path in the configuration; returns the key in `jwks`.
    fn write_referenced_files(&self, configuration: &str) -> SigningKey {
        let signing_key = SigningKey::generate("docs", "EdDSA");
        let authority = Authority::new("docs");
        let (certificate, certificate_key) = authority.server_pem();
        let mut files = BTreeMap::new();
        collect_files(&toml::from_str(configuration).unwrap(), "", &mut files);
        for (name, key) in files {
            let path = self.path(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if name.ends_with(".nk") || name.ends_with(".xk") {
                let kind = match key.as_str() {
                    "xkeys" => "curve",
                    "nkey" => "user",
                    _ if name.ends_with(".xk") || name.contains("xkey") => "curve",
                    _ => "account",
                };
                callgate_in(self.0.path(), &["key", kind, "--out", &name]);
            } else if key == "cert" {
                fs::write(path, &certificate).unwrap();
            } else if key == "key" {
                write_private(&path, &certificate_key);
            } else if name.ends_with(".pem") {
                fs::write(path, authority.pem()).unwrap();
            } else if name.contains("jwks") {
                fs::write(path, json!({ "keys": [signing_key.jwk()] }).to_string()).unwrap();
            } else if name.ends_with(".json") {
                let users = json!({ "alice": { "password": "secret", "account": "APP" } });
                write_private(&path, &users.to_string());
            } else {
                fs::write(path, "placeholder\n").unwrap();
            }
        }
        signing_key
    }

    /// Writes the configuration, users and tokens; returns variables that commands use.
    fn write_for_logins(&self, configuration: &str) -> Vec<(&'static str, String)> {
        let parsed: Value = toml::from_str(configuration).unwrap();
        let value = |key: &str| first(&parsed, key).unwrap_or_default();
        let mut text = configuration.to_owned();
        let mut variables = Vec::new();
        if configuration.contains("service_tokens") {
            // The page's key has no known seed: another takes its place, and signs.
            let public = callgate_in(self.0.path(), &["key", "user", "--out", "service.nk"]).stdout;
            let known = configuration.split('"').find(|it| it.len() == 56 && it.starts_with('U'));
            text = text.replace(known.expect("a user key"), public.trim());
            let mut mint = vec!["token", "--seed", "@service.nk", "--ttl", "15m"];
            let (user, audience) = (value("user"), value("audience"));
            mint.extend(["--user", &user, "--audience", &audience]);
            let token = callgate_in(self.0.path(), &mint).stdout;
            variables.push(("TOKEN", token.trim().to_owned()));
        }
        fs::write(self.path("callgate.toml"), &text).unwrap();
        let signing_key = self.write_referenced_files(&text);
        let user = match configuration.contains("default_account") {
            true => json!({ "password": PASSWORD }),
            false => json!({ "password": PASSWORD, "account": "APP" }),
        };
        let users = json!({ "dev-7.a": user, "wanda": user, "olga": user });
        write_private(&self.path("users.json"), &users.to_string());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        for (name, tenant, groups) in CLAIMS {
            let header = json!({ "typ": "JWT", "alg": "EdDSA", "kid": "docs" });
            let claims = json!({
                "iss": value("issuer"), "aud": value("audience"), "iat": now, "exp": now + 900,
                "sub": name, "tenant": tenant, "groups": groups,
            });
            let token = signing_key.token_with(&header, &claims);
            write_private(&self.path(&format!("{name}.jwt")), &token);
        }
        variables
    }
}

/// Keys whose value is the name of a file.
const FILE_KEYS: [&str; 6] = ["jwks_file", "ca", "cert", "key", "creds", "nkey"];

/// Every file that a configuration refers to, and the key that refers to it.
fn collect_files(value: &Value, key: &str, files: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                match value.as_str() {
                    Some(path) if name == "file" => {
                        drop(files.insert(path.to_owned(), key.to_owned()))
                    }
                    Some(path) if FILE_KEYS.contains(&name.as_str()) || path.ends_with(".pem") => {
                        files.insert(path.to_owned(), name.clone());
                    }
                    _ => collect_files(value, name, files),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_files(item, key, files)),
        _ => (),
    }
}

/// The first text with this key, or the first of a list.
fn first(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Table(table) => {
            let own = table
                .get(key)
                .map(|own| own.as_array().and_then(|list| list.first()).unwrap_or(own));
            let own = own.and_then(Value::as_str).map(str::to_owned);
            own.or_else(|| table.values().find_map(|inner| first(inner, key)))
        }
        Value::Array(items) => items.iter().find_map(|item| first(item, key)),
        _ => None,
    }
}

/// The first quoted line that is not printed where it should be.
pub(super) fn first_difference(quoted: &[&str], printed: &[String]) -> Option<String> {
    let mut next = 0;
    let mut anywhere = false;
    for line in quoted {
        if *line == "…" {
            anywhere = true;
            continue;
        }
        let end = if anywhere { printed.len() } else { printed.len().min(next + 1) };
        let found = (next..end).find(|at| matches(line, &printed[*at]));
        let Some(at) = found else { return Some((*line).to_owned()) };
        next = at + 1;
        anywhere = false;
    }
    (!anywhere && next < printed.len()).then(|| "… (the end)".to_owned())
}

/// The printed lines, with quoted ones where they match.
fn merged(quoted: &[&str], printed: &[String]) -> Vec<String> {
    let lines = printed.iter().map(|line| {
        let quote = quoted.iter().find(|quote| matches(quote, line));
        quote.map_or_else(|| line.clone(), |quote| (*quote).to_owned())
    });
    lines.collect()
}

fn matches(quoted: &str, printed: &str) -> bool {
    let quoted = without_times(quoted);
    let printed = without_times(printed);
    let parts: Vec<&str> = quoted.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return quoted == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The text with `…` in place of every time such as `2026-01-02T03:04:05Z`.
fn without_times(text: &str) -> String {
    const SHAPE: &str = "0000-00-00T00:00:00Z";
    let mut text = text.to_owned();
    for at in (0..text.len()).rev() {
        let end = at + SHAPE.len();
        let Some(window) = text.get(at..end) else { continue };
        let same = |(a, b): (char, char)| if b == '0' { a.is_ascii_digit() } else { a == b };
        if window.chars().count() == SHAPE.len() && window.chars().zip(SHAPE.chars()).all(same) {
            text.replace_range(at..end, "…");
        }
    }
    text
}
