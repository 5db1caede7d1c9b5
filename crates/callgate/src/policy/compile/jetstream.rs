//! JetStream macros: the subjects that `streams`, `kv` and `objects` of a role allow.
//!
//! The subjects are those of nats-server `jetstream_api.go` (2.10 to 2.15), as clients use them. Each
//! names its stream, except `STREAM.NAMES` and `INFO`. The macros allow publishing only: replies and
//! messages arrive at the client's inbox.

use crate::policy::settings::{BucketAccess, BucketSettings, StreamAccess, StreamSettings};

/// The subjects of one macro, which may contain templates.
pub(super) type Subjects = Result<Vec<String>, String>;

/// The subjects of an entry of `streams`.
pub(super) fn stream(settings: &StreamSettings) -> Subjects {
    let StreamSettings { name, access, consumer, subjects, domain } = settings;
    check_name(name, "stream")?;
    check_domain(domain.as_deref())?;
    if consumer.is_some() && *access != StreamAccess::Consume {
        return Err("`consumer` needs access `consume`".to_owned());
    }
    if !subjects.is_empty() && *access != StreamAccess::Publish {
        return Err("`subjects` needs access `publish`".to_owned());
    }
    let subjects = match (access, consumer) {
        (StreamAccess::Publish, _) if subjects.is_empty() => {
            return Err("access `publish` needs `subjects`".to_owned());
        }
        // A stream's subjects are the same in every domain.
        (StreamAccess::Publish, _) => return Ok(subjects.clone()),
        (StreamAccess::Consume, Some(consumer)) => {
            check_name(consumer, "consumer")?;
            pull(name, consumer)
        }
        (StreamAccess::Consume, None) => consume(name),
        (StreamAccess::Manage, _) => manage(name),
        (StreamAccess::Configure, _) => [manage(name), configure(name)].concat(),
    };
    Ok(in_domain(domain.as_deref(), subjects))
}

/// The subjects of an entry of `kv`.
pub(super) fn key_value(settings: &BucketSettings) -> Subjects {
    let BucketSettings { bucket, access, domain } = settings;
    check_name(bucket, "bucket")?;
    check_domain(domain.as_deref())?;
    let stream = format!("KV_{bucket}");
    let mut subjects = read(&stream);
    if *access != BucketAccess::Read {
        // Clients purge the markers of deleted keys.
        subjects.extend(calls(&stream, &["STREAM.PURGE.{S}"]));
        subjects.push(format!("$KV.{bucket}.>"));
    }
    if *access == BucketAccess::Admin {
        subjects.extend(configure(&stream));
    }
    Ok(in_domain(domain.as_deref(), subjects))
}

/// The subjects of an entry of `objects`.
pub(super) fn objects(settings: &BucketSettings) -> Subjects {
    let BucketSettings { bucket, access, domain } = settings;
    check_name(bucket, "bucket")?;
    check_domain(domain.as_deref())?;
    let stream = format!("OBJ_{bucket}");
    let mut subjects = read(&stream);
    // Clients look up the stream by subject to read the chunks of an object.
    subjects.push(call("STREAM.NAMES"));
    if *access != BucketAccess::Read {
        subjects.extend(calls(&stream, &["STREAM.PURGE.{S}"]));
        subjects.push(format!("$O.{bucket}.>"));
    }
    if *access == BucketAccess::Admin {
        subjects.extend(configure(&stream));
    }
    Ok(in_domain(domain.as_deref(), subjects))
}

/// Adds the subjects with the domain. Both forms are needed: a server of that domain rewrites
/// `$JS.<domain>.API` to `$JS.API` before it checks permissions, and any other server forwards it
/// unchanged (`jetstream_api.go`, generateJSMappingTable). A client that connects to a server of
/// another domain can therefore also use a stream of the same name there.
fn in_domain(domain: Option<&str>, mut subjects: Vec<String>) -> Vec<String> {
    let Some(domain) = domain else { return subjects };
    let in_domain = |subject: &String| match subject.strip_prefix("$JS.API.") {
        Some(call) => Some(format!("$JS.{domain}.API.{call}")),
        None if subject.starts_with("$KV.") => Some(format!("$JS.{domain}.API.{subject}")),
        // Acknowledgements take the route of the message, and objects have no form with a domain.
        None => None,
    };
    let more: Vec<_> = subjects.iter().filter_map(in_domain).collect();
    subjects.extend(more);
    subjects
}

fn check_domain(domain: Option<&str>) -> Result<(), String> {
    match domain {
        Some(domain) if !is_plain(domain) || domain == "API" => {
            Err(format!("`{domain}` is not a JetStream domain: use A-Z, a-z, 0-9, - and _"))
        }
        Some(_) | None => Ok(()),
    }
}

fn call(what: &str) -> String {
    format!("$JS.API.{what}")
}

fn calls(stream: &str, verbs: &[&str]) -> Vec<String> {
    verbs.iter().map(|verb| call(&verb.replace("{S}", stream))).collect()
}

/// Pulls from one existing consumer.
fn pull(stream: &str, consumer: &str) -> Vec<String> {
    let mut subjects = calls(stream, &["STREAM.INFO.{S}"]);
    subjects.push(call(&format!("CONSUMER.INFO.{stream}.{consumer}")));
    subjects.push(call(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}")));
    subjects.extend(acknowledgements(stream, consumer));
    subjects
}

/// Creates, looks up, uses and deletes consumers.
fn consumers(stream: &str) -> Vec<String> {
    let mut subjects = calls(
        stream,
        &[
            "STREAM.INFO.{S}",
            // Ephemeral; named, with or without a filter subject; and the form of old clients.
            "CONSUMER.CREATE.{S}",
            "CONSUMER.CREATE.{S}.>",
            "CONSUMER.DURABLE.CREATE.{S}.*",
            "CONSUMER.INFO.{S}.*",
            "CONSUMER.NAMES.{S}",
            "CONSUMER.LIST.{S}",
            "CONSUMER.MSG.NEXT.{S}.*",
            "CONSUMER.DELETE.{S}.*",
        ],
    );
    // The JavaScript client requests it first.
    subjects.push(call("INFO"));
    subjects.extend(flow_control(stream));
    subjects
}

fn consume(stream: &str) -> Vec<String> {
    let mut subjects = consumers(stream);
    subjects.push(call("STREAM.NAMES"));
    subjects.extend(acknowledgements(stream, "*"));
    subjects
}

fn manage(stream: &str) -> Vec<String> {
    let more = calls(stream, &["STREAM.PURGE.{S}", "STREAM.MSG.DELETE.{S}"]);
    [consume(stream), more].concat()
}

fn configure(stream: &str) -> Vec<String> {
    calls(stream, &["STREAM.CREATE.{S}", "STREAM.UPDATE.{S}", "STREAM.DELETE.{S}"])
}

/// Reads messages directly, and watches with consumers.
fn read(stream: &str) -> Vec<String> {
    let more = calls(stream, &["STREAM.MSG.GET.{S}", "DIRECT.GET.{S}", "DIRECT.GET.{S}.>"]);
    [consumers(stream), more].concat()
}

/// The acknowledgement subjects of a consumer: stream and consumer, then delivery count, two
/// sequences, time and pending. In the second form the domain and a hash of the account come first,
/// and a random token last. The number of tokens is exact, so that a stream named like a domain or
/// a number does not allow acknowledgements of the other form.
fn acknowledgements(stream: &str, consumer: &str) -> [String; 2] {
    [
        format!("$JS.ACK.{stream}.{consumer}.*.*.*.*.*"),
        format!("$JS.ACK.*.*.{stream}.{consumer}.*.*.*.*.>"),
    ]
}

/// The flow control subjects of push consumers, in both forms.
fn flow_control(stream: &str) -> [String; 2] {
    [format!("$JS.FC.{stream}.*.*"), format!("$JS.FC.*.*.{stream}.*.*")]
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Checks that a name is one literal token. Its templates are checked when they are filled.
fn check_name(name: &str, what: &str) -> Result<(), String> {
    let literal = literal_parts(name);
    let fits =
        |part: &&str| part.bytes().all(|b| !b.is_ascii_whitespace() && !b".*>/\\".contains(&b));
    match !name.is_empty() && literal.iter().all(fits) {
        true => Ok(()),
        false => Err(format!("`{name}` is not a {what} name: it must be one literal token")),
    }
}

/// The name without its templates.
fn literal_parts(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("{{") {
        parts.push(before);
        rest = after.split_once("}}").map_or("", |(_, tail)| tail);
    }
    parts.push(rest);
    parts
}
