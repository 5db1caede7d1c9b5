//! JetStream macros: what `streams`, `kv` and `objects` of a role open.
//!
//! Subjects as in nats-server `jetstream_api.go` (2.10 to 2.15), and as clients use them. Every
//! one names its stream, except `STREAM.NAMES` and `INFO`. Only publishing is opened: answers and
//! messages arrive at the client's inbox.

use super::settings::{BucketAccess, BucketSettings, StreamAccess, StreamSettings};

/// What a macro opens, as texts that may still have templates in them.
pub(super) type Opened = Result<Vec<String>, String>;

/// What an entry of `streams` opens.
pub(super) fn stream(settings: &StreamSettings) -> Opened {
    let StreamSettings { name, access, consumer, subjects, domain } = settings;
    check_name(name, "stream")?;
    check_domain(domain.as_deref())?;
    if consumer.is_some() && *access != StreamAccess::Consume {
        return Err("`consumer` goes with access `consume` only".to_owned());
    }
    if !subjects.is_empty() && *access != StreamAccess::Publish {
        return Err("`subjects` goes with access `publish` only".to_owned());
    }
    let opened = match (access, consumer) {
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
    Ok(in_domain(domain.as_deref(), opened))
}

/// What an entry of `kv` opens.
pub(super) fn key_value(settings: &BucketSettings) -> Opened {
    let BucketSettings { bucket, access, domain } = settings;
    check_name(bucket, "bucket")?;
    check_domain(domain.as_deref())?;
    let stream = format!("KV_{bucket}");
    let mut opened = read(&stream);
    if *access != BucketAccess::Read {
        // Clients remove the markers of deleted keys with it.
        opened.extend(calls(&stream, &["STREAM.PURGE.{S}"]));
        opened.push(format!("$KV.{bucket}.>"));
    }
    if *access == BucketAccess::Admin {
        opened.extend(configure(&stream));
    }
    Ok(in_domain(domain.as_deref(), opened))
}

/// What an entry of `objects` opens.
pub(super) fn objects(settings: &BucketSettings) -> Opened {
    let BucketSettings { bucket, access, domain } = settings;
    check_name(bucket, "bucket")?;
    check_domain(domain.as_deref())?;
    let stream = format!("OBJ_{bucket}");
    let mut opened = read(&stream);
    // Clients look the stream up by a subject when they read an object's chunks.
    opened.push(call("STREAM.NAMES"));
    if *access != BucketAccess::Read {
        opened.extend(calls(&stream, &["STREAM.PURGE.{S}"]));
        opened.push(format!("$O.{bucket}.>"));
    }
    if *access == BucketAccess::Admin {
        opened.extend(configure(&stream));
    }
    Ok(in_domain(domain.as_deref(), opened))
}

/// Opens the domain's own subjects, too. Both are needed: a server of that very domain rewrites
/// `$JS.<domain>.API` to `$JS.API` before it looks at permissions, and any other server passes it on
/// as it is (`jetstream_api.go`, generateJSMappingTable). So where a client may connect to servers
/// of several domains, the macro opens streams of that name in the domain that it connects to, too.
fn in_domain(domain: Option<&str>, mut opened: Vec<String>) -> Vec<String> {
    let Some(domain) = domain else { return opened };
    let through = |subject: &String| match subject.strip_prefix("$JS.API.") {
        Some(call) => Some(format!("$JS.{domain}.API.{call}")),
        None if subject.starts_with("$KV.") => Some(format!("$JS.{domain}.API.{subject}")),
        // Acknowledgements go back the way that messages came, objects have no form of their own.
        None => None,
    };
    let more: Vec<_> = opened.iter().filter_map(through).collect();
    opened.extend(more);
    opened
}

fn check_domain(domain: Option<&str>) -> Result<(), String> {
    match domain {
        Some(domain) if !is_plain(domain) || domain == "API" => {
            Err(format!("`{domain}` is no JetStream domain: use A-Z, a-z, 0-9, - and _"))
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

/// Pull from one consumer that exists.
fn pull(stream: &str, consumer: &str) -> Vec<String> {
    let mut opened = calls(stream, &["STREAM.INFO.{S}"]);
    opened.push(call(&format!("CONSUMER.INFO.{stream}.{consumer}")));
    opened.push(call(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}")));
    opened.extend(acknowledgements(stream, consumer));
    opened
}

/// Make, look up, use and delete consumers.
fn consumers(stream: &str) -> Vec<String> {
    let mut opened = calls(
        stream,
        &[
            "STREAM.INFO.{S}",
            // Ephemeral; named, with or without a filter behind; and the form of old clients.
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
    // The JavaScript client asks for it before anything else.
    opened.push(call("INFO"));
    opened.extend(flow_control(stream));
    opened
}

fn consume(stream: &str) -> Vec<String> {
    let mut opened = consumers(stream);
    opened.push(call("STREAM.NAMES"));
    opened.extend(acknowledgements(stream, "*"));
    opened
}

fn manage(stream: &str) -> Vec<String> {
    let more = calls(stream, &["STREAM.PURGE.{S}", "STREAM.MSG.DELETE.{S}"]);
    [consume(stream), more].concat()
}

fn configure(stream: &str) -> Vec<String> {
    calls(stream, &["STREAM.CREATE.{S}", "STREAM.UPDATE.{S}", "STREAM.DELETE.{S}"])
}

/// Get directly and by message, and watch through consumers.
fn read(stream: &str) -> Vec<String> {
    let more = calls(stream, &["STREAM.MSG.GET.{S}", "DIRECT.GET.{S}", "DIRECT.GET.{S}.>"]);
    [consumers(stream), more].concat()
}

/// Where messages of a consumer are acknowledged, as the server subscribes: stream and consumer, then
/// delivery count, two sequences, time and pending; in the second form the domain and a hash of the
/// account come first, and a random token last. As many tokens as the server has, so that a stream
/// named like a domain or like a number does not open acknowledgements of the other form.
fn acknowledgements(stream: &str, consumer: &str) -> [String; 2] {
    [
        format!("$JS.ACK.{stream}.{consumer}.*.*.*.*.*"),
        format!("$JS.ACK.*.*.{stream}.{consumer}.*.*.*.*.>"),
    ]
}

/// Where the flow control of push consumers is answered, in both forms.
fn flow_control(stream: &str) -> [String; 2] {
    [format!("$JS.FC.{stream}.*.*"), format!("$JS.FC.*.*.{stream}.*.*")]
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A name is one literal token; its templates are judged when they are filled.
fn check_name(name: &str, what: &str) -> Result<(), String> {
    let literal = literal_parts(name);
    let fits =
        |part: &&str| part.bytes().all(|b| !b.is_ascii_whitespace() && !b".*>/\\".contains(&b));
    match !name.is_empty() && literal.iter().all(fits) {
        true => Ok(()),
        false => Err(format!("`{name}` is no {what}'s name: it is one literal token")),
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
