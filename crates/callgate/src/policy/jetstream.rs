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
    if consumer.is_some() && *access != StreamAccess::Consume {
        return Err("`consumer` goes with access `consume` only".to_owned());
    }
    if !subjects.is_empty() && *access != StreamAccess::Publish {
        return Err("`subjects` goes with access `publish` only".to_owned());
    }
    let api = Api::new(domain.as_deref())?;
    match (access, consumer) {
        (StreamAccess::Publish, _) if subjects.is_empty() => {
            Err("access `publish` needs `subjects`".to_owned())
        }
        (StreamAccess::Publish, _) => Ok(subjects.clone()),
        (StreamAccess::Consume, Some(consumer)) => {
            check_name(consumer, "consumer")?;
            check_letters(name, "stream")?;
            Ok(api.pull(name, consumer))
        }
        (StreamAccess::Consume, None) => api.consume(name),
        (StreamAccess::Manage, _) => api.manage(name),
        (StreamAccess::Configure, _) => {
            let mut opened = api.manage(name)?;
            opened.extend(api.configure(name));
            Ok(opened)
        }
    }
}

/// What an entry of `kv` opens.
pub(super) fn key_value(settings: &BucketSettings) -> Opened {
    let BucketSettings { bucket, access, domain } = settings;
    check_name(bucket, "bucket")?;
    let api = Api::new(domain.as_deref())?;
    let stream = format!("KV_{bucket}");
    let mut opened = api.read(&stream)?;
    if *access != BucketAccess::Read {
        opened.push(api.call(&format!("STREAM.PURGE.{stream}")));
        // Through a domain, clients write to the domain's own prefix.
        opened.push(match domain {
            None => format!("$KV.{bucket}.>"),
            Some(_) => api.call(&format!("$KV.{bucket}.>")),
        });
    }
    if *access == BucketAccess::Admin {
        opened.extend(api.configure(&stream));
    }
    Ok(opened)
}

/// What an entry of `objects` opens.
pub(super) fn objects(settings: &BucketSettings) -> Opened {
    let BucketSettings { bucket, access, domain } = settings;
    check_name(bucket, "bucket")?;
    let api = Api::new(domain.as_deref())?;
    let stream = format!("OBJ_{bucket}");
    let mut opened = api.read(&stream)?;
    // Clients look the stream up by a subject when they read an object's chunks.
    opened.push(api.call("STREAM.NAMES"));
    if *access != BucketAccess::Read {
        opened.push(api.call(&format!("STREAM.PURGE.{stream}")));
        opened.push(format!("$O.{bucket}.>"));
        if domain.is_some() {
            opened.push(api.call(&format!("$O.{bucket}.>")));
        }
    }
    if *access == BucketAccess::Admin {
        opened.extend(api.configure(&stream));
    }
    Ok(opened)
}

/// The API's prefix: `$JS.API`, or `$JS.<domain>.API`.
struct Api {
    prefix: String,
}

impl Api {
    fn new(domain: Option<&str>) -> Result<Self, String> {
        let Some(domain) = domain else { return Ok(Self { prefix: "$JS.API".to_owned() }) };
        if !is_plain(domain) || domain == "API" {
            return Err(format!("`{domain}` is no JetStream domain: use A-Z, a-z, 0-9, - and _"));
        }
        Ok(Self { prefix: format!("$JS.{domain}.API") })
    }

    fn call(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }

    fn calls(&self, stream: &str, verbs: &[&str]) -> Vec<String> {
        verbs.iter().map(|verb| self.call(&verb.replace("{S}", stream))).collect()
    }

    /// Pull from one consumer that exists.
    fn pull(&self, stream: &str, consumer: &str) -> Vec<String> {
        let mut opened = self.calls(stream, &["STREAM.INFO.{S}"]);
        opened.push(self.call(&format!("CONSUMER.INFO.{stream}.{consumer}")));
        opened.push(self.call(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}")));
        opened.push(format!("$JS.ACK.{stream}.{consumer}.>"));
        opened.push(format!("$JS.ACK.*.*.{stream}.{consumer}.>"));
        opened
    }

    /// Make, look up, use and delete consumers.
    fn consumers(&self, stream: &str) -> Result<Vec<String>, String> {
        check_letters(stream, "stream")?;
        let mut opened = self.calls(
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
        // The second form has the domain and a hash of the account before the stream.
        opened.push(format!("$JS.FC.{stream}.>"));
        opened.push(format!("$JS.FC.*.*.{stream}.>"));
        Ok(opened)
    }

    fn consume(&self, stream: &str) -> Result<Vec<String>, String> {
        let mut opened = self.consumers(stream)?;
        opened.push(self.call("STREAM.NAMES"));
        opened.push(format!("$JS.ACK.{stream}.>"));
        opened.push(format!("$JS.ACK.*.*.{stream}.>"));
        Ok(opened)
    }

    fn manage(&self, stream: &str) -> Result<Vec<String>, String> {
        let mut opened = self.consume(stream)?;
        opened.extend(self.calls(stream, &["STREAM.PURGE.{S}", "STREAM.MSG.DELETE.{S}"]));
        Ok(opened)
    }

    fn configure(&self, stream: &str) -> Vec<String> {
        self.calls(stream, &["STREAM.CREATE.{S}", "STREAM.UPDATE.{S}", "STREAM.DELETE.{S}"])
    }

    /// Get directly and by message, and watch through consumers.
    fn read(&self, stream: &str) -> Result<Vec<String>, String> {
        let mut opened = self.consumers(stream)?;
        opened.extend(
            self.calls(stream, &["STREAM.MSG.GET.{S}", "DIRECT.GET.{S}", "DIRECT.GET.{S}.>"]),
        );
        // The JavaScript client asks for it before it opens a bucket.
        opened.push(self.call("INFO"));
        Ok(opened)
    }
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

/// `$JS.ACK.*.*.7.>` would also match acknowledgements of other streams, whose third word is a
/// delivery count.
fn check_letters(name: &str, what: &str) -> Result<(), String> {
    let has_letter = |part: &&str| part.bytes().any(|b| !b.is_ascii_digit());
    match literal_parts(name).iter().any(has_letter) {
        true => Ok(()),
        false => Err(format!(
            "the {what}'s name `{name}` is or may be a number, which cannot be told from the \
             counts in acknowledgements of other streams: it needs a letter"
        )),
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
