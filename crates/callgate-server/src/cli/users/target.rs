//! The bucket that a command works on, and how entries are checked before they are written.

use std::{path::PathBuf, sync::Arc, time::Duration};

use callgate::secret::Secret;
use callgate_authenticators::{
    kind::{Bucket, BuildContext, Registry, SharedResources},
    kv::{CheckedEntry, check_entry},
};
use callgate_config::Sources;
use serde_json::{Value, json};

use super::super::{
    GOOD, Outcome, UNUSABLE,
    output::{complain, say},
    source::build_env,
};
use crate::{
    buckets::{self, BucketAccess, Retention},
    config::{self, BuiltAuthenticator, Flag, Overrides},
    nats::{self, NatsSettings},
};

/// The history of a new bucket.
const HISTORY: i64 = 5;
const RETENTION: Retention = Retention { history: HISTORY, max_age: Duration::ZERO };

/// The configuration and the login. Secrets are given as `@FILE` or `env:NAME`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// Configuration file, whose servers and `kv` authenticator are used [env: CALLGATE_CONFIG]
    #[arg(long, short = 'c', value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The authenticator, if the configuration has several of the kind `kv`
    #[arg(long, value_name = "NAME", global = true)]
    authenticator: Option<String>,
    /// NATS servers, separated by commas; replaces those of the configuration
    #[arg(long, value_name = "URL", global = true)]
    nats_url: Option<String>,
    /// User to log in to NATS as; replaces the login of the configuration
    #[arg(long, value_name = "NAME", global = true)]
    nats_user: Option<String>,
    /// Password of that user
    #[arg(long, value_name = "@FILE|env:NAME", global = true)]
    nats_password: Option<String>,
    /// Credentials file, instead of user and password
    #[arg(long, value_name = "FILE", global = true)]
    nats_creds: Option<PathBuf>,
    /// The bucket, without a configuration
    #[arg(long, value_name = "NAME", global = true)]
    bucket: Option<String>,
    /// JetStream domain of the bucket, without a configuration
    #[arg(long, value_name = "NAME", global = true)]
    domain: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Where the users are, and the rules for their entries.
struct Place {
    nats: NatsSettings,
    bucket: Bucket,
    operator_owned: bool,
    context: BuildContext,
}

impl Target {
    fn place(&self, registry: Registry) -> Result<Place, Box<dyn std::error::Error>> {
        let config = match &self.config {
            Some(path) => Some(path.clone()),
            None => Sources::new(".").variable("CALLGATE_CONFIG")?.map(|path| path.as_str().into()),
        };
        let overrides = Overrides {
            config,
            nats_url: self.nats_url.clone(),
            nats_user: self.nats_user.clone(),
            nats_password: self
                .nats_password
                .as_ref()
                .map(|text| Flag { text: Secret::new(text.clone()), on_command_line: true }),
            nats_creds: self.nats_creds.clone(),
            ..Overrides::default()
        };
        match (&overrides.config, &self.bucket) {
            (Some(_), Some(_)) => Err("--bucket cannot be combined with --config: name the \
                                       authenticator with --authenticator"
                .into()),
            (Some(_), None) => self.configured(&overrides, registry),
            (None, Some(name)) => self.given(&overrides, name),
            (None, None) => Err("no bucket: pass --config FILE with an authenticator of the kind \
                                 `kv`, or --nats-url and --bucket"
                .into()),
        }
    }

    fn configured(
        &self,
        overrides: &Overrides,
        registry: Registry,
    ) -> Result<Place, Box<dyn std::error::Error>> {
        let loaded = config::load(overrides, &build_env(registry, false));
        let Some(config) = loaded.config else {
            for fault in loaded.report.faults() {
                complain(format_args!("error: {fault}"));
            }
            return Err("invalid configuration; `callgate check` prints the same errors".into());
        };
        let all = config.authenticators.into_iter().filter(|entry| entry.kind == "kv");
        let wanted = |entry: &BuiltAuthenticator| {
            self.authenticator.as_ref().is_none_or(|name| **name == *entry.context.name)
        };
        let mut found: Vec<_> = all.filter(wanted).collect();
        let (Some(BuiltAuthenticator { context, raw, .. }), true) = (found.pop(), found.is_empty())
        else {
            return Err(match &self.authenticator {
                Some(name) => format!(
                    "there is no authenticator `{}` of the kind `kv` in the configuration",
                    name.escape_debug()
                ),
                None => "the configuration does not have exactly one authenticator of the kind \
                         `kv`: name it with --authenticator"
                    .to_owned(),
            }
            .into());
        };
        let text = |key| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        let bucket = Bucket { name: text("bucket").unwrap_or_default(), domain: text("domain") };
        let operator_owned = raw.get("operator_owned") == Some(&Value::Bool(true));
        Ok(Place { nats: config.nats, bucket, operator_owned, context })
    }

    /// Without a configuration, entries are checked as outside data, and no role or account is known.
    fn given(
        &self,
        overrides: &Overrides,
        name: &str,
    ) -> Result<Place, Box<dyn std::error::Error>> {
        let bucket = Bucket { name: name.to_owned(), domain: self.domain.clone() };
        if ![Some(name), self.domain.as_deref()].into_iter().flatten().all(Bucket::is_valid_name) {
            return Err(
                "the name of a bucket or domain consists of letters, digits, `-` and `_`".into()
            );
        }
        let nats = config::connection(overrides).map_err(|faults| faults.join("; "))?;
        let shared = Arc::new(SharedResources::new(1));
        let context = BuildContext::new(name, Sources::new("."), shared);
        Ok(Place { nats, bucket, operator_owned: false, context })
    }

    pub(super) async fn init(&self, replicas: Option<usize>, registry: Registry) -> Outcome {
        let Place { nats, bucket, operator_owned, .. } = self.place(registry)?;
        let client = nats::connect_once(&nats).await?;
        let replicas = replicas.map_or(vec![3, 1], |replicas| vec![replicas]);
        let created = buckets::create(&client, &bucket, RETENTION, &replicas).await?;
        let replicas = created.as_ref().map(BucketAccess::replicas);
        if self.json {
            say(
                json!({ "bucket": bucket.name, "created": created.is_some(), "replicas": replicas }),
            );
            return Ok(GOOD);
        }
        let Some(replicas) = replicas else {
            say(format_args!("the bucket {bucket} exists already: nothing was changed"));
            return Ok(GOOD);
        };
        say(format_args!("created the bucket {bucket}: history {HISTORY}, replicas {replicas}"));
        if !operator_owned {
            complain(
                "note: entries are outside data: they grant nothing beyond the authenticator's \
                 `ceiling`. If only operators can write to the bucket, set `operator_owned = true` \
                 in [authenticators.kv]",
            );
        }
        Ok(GOOD)
    }
}

/// An open bucket.
pub(super) struct Users {
    pub(super) access: BucketAccess,
    pub(super) json: bool,
    operator_owned: bool,
    context: BuildContext,
}

impl Users {
    pub(super) async fn open(
        target: Target,
        registry: Registry,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let Place { nats, bucket, operator_owned, context } = target.place(registry)?;
        let client = nats::connect_once(&nats).await?;
        let access = BucketAccess::open(&client, &bucket).await;
        let access = access.map_err(|error| match error {
            missing @ buckets::BucketError::Missing(_) => {
                format!("{missing}: create it with `callgate users init`")
            }
            other => other.to_string(),
        })?;
        Ok(Self { access, json: target.json, operator_owned, context })
    }

    /// Checks an entry as `callgate check` would.
    pub(super) fn check(&self, user: &str, value: &[u8]) -> CheckedEntry {
        check_entry(user, value, self.operator_owned, &self.context)
    }

    /// Prints an error with the exit code for a refused change.
    pub(super) fn refuse(&self, code: u8, message: impl std::fmt::Display) -> Outcome {
        debug_assert!(code != GOOD && code <= UNUSABLE, "an exit code of a failure");
        complain(format_args!("error: {message}"));
        Ok(code)
    }
}
