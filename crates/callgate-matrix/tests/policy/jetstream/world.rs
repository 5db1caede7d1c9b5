//! Streams and buckets of an account, and clients that have a role each.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{
    Client, Event, ServerError,
    jetstream::{
        self, Context,
        consumer::pull,
        kv::{self, Store},
        object_store::{self, ObjectStore},
        stream::{self, Stream},
    },
};
use callgate::policy::{
    Policy,
    settings::{BucketAccess, BucketSettings, Inbox, RoleSettings, StreamAccess, StreamSettings},
};
use callgate_testkit::{NatsServer, eventually, wait::PATIENCE};
use futures_util::{FutureExt, future::BoxFuture, future::join_all};

use crate::site::{Site, login, member, policy_of};

/// How long a client waits for an answer that never arrives.
const HASTE: Duration = Duration::from_millis(300);

/// `ORDERS` with the consumers `worker` and `second`, the buckets `config` and `files`, and beside
/// them `OTHER` with `theirs`, `secrets` and `vault`, of which no role says anything.
pub(crate) struct World {
    pub(crate) site: Site,
    /// Where the streams are, if not there.
    #[expect(dead_code, reason = "it runs as long as this lives")]
    hub: Option<NatsServer>,
    domain: Option<&'static str>,
    admin: Context,
}

async fn site(version: &str, extra: &str, roles: Vec<(&'static str, RoleSettings)>) -> Site {
    let people = roles.iter().map(|(name, _)| member(name, &[name])).collect();
    let policy = Policy::build(policy_of(roles)).unwrap();
    Site::with_policy(version, extra, people, policy).await
}

impl World {
    /// With these roles; the client of each has the role's name. `domain` is the server's own.
    pub(crate) async fn new(
        version: &str,
        domain: Option<&'static str>,
        roles: Vec<(&'static str, RoleSettings)>,
    ) -> Self {
        let domain_line = domain.map(|name| format!("domain: {name}")).unwrap_or_default();
        let extra = format!("jetstream {{ store_dir: \"{{{{dir}}}}/js\", {domain_line} }}");
        let site = site(version, &extra, roles).await;
        let admin = jetstream::new(site.admin().await);
        let world = Self { site, hub: None, domain, admin };
        world.build().await;
        world
    }

    /// The same streams and buckets in a hub, which clients reach by its domain through a leaf node
    /// with a domain of its own.
    pub(crate) async fn behind_a_leaf(
        version: &str,
        domain: &'static str,
        roles: Vec<(&'static str, RoleSettings)>,
    ) -> Self {
        let config = format!(
            "server_name: hub
             accounts {{ APP {{ jetstream: enabled, users: [{{ user: admin, password: admin }}] }} }}
             leafnodes {{ listen: \"127.0.0.1:{{{{leaf_port}}}}\" }}
             jetstream {{ store_dir: \"{{{{dir}}}}/js\", domain: {domain} }}"
        );
        let hub = NatsServer::builder().version(version).config(&config).start().await;
        let remote = format!("nats://admin:admin@127.0.0.1:{}", hub.leaf_port());
        let extra = format!(
            "leafnodes {{ remotes: [{{ url: \"{remote}\", account: APP }}] }}
             jetstream {{ store_dir: \"{{{{dir}}}}/js\", domain: leaf }}"
        );
        let mut site = site(version, &extra, roles).await;
        site.server.wait_for_log("Leafnode connection created for account: APP").await;
        let admin = jetstream::new(login("admin").connect(hub.url()).await.unwrap());
        let world = Self { site, hub: Some(hub), domain: Some(domain), admin };
        world.build().await;
        world
    }

    async fn build(&self) {
        for (stream, subjects, consumers) in
            [("ORDERS", "orders.>", &["worker", "second"][..]), ("OTHER", "other.>", &["theirs"])]
        {
            let config = stream::Config {
                name: stream.to_owned(),
                subjects: vec![subjects.to_owned()],
                storage: stream::StorageType::Memory,
                allow_direct: true,
                ..stream::Config::default()
            };
            let made = self.admin.create_stream(config).await.unwrap();
            for consumer in consumers {
                let config = pull::Config {
                    durable_name: Some((*consumer).to_owned()),
                    ..pull::Config::default()
                };
                made.create_consumer(config).await.unwrap();
            }
            for number in 0..20 {
                let subject = subjects.replace('>', &format!("new.{number}"));
                self.admin.publish(subject, "x".into()).await.unwrap().await.unwrap();
            }
        }
        for bucket in ["config", "secrets"] {
            let config = kv::Config {
                bucket: bucket.to_owned(),
                history: 5,
                storage: stream::StorageType::Memory,
                ..kv::Config::default()
            };
            let store = self.admin.create_key_value(config).await.unwrap();
            store.put("colour", "red".into()).await.unwrap();
            store.put("colour", "blue".into()).await.unwrap();
        }
        for bucket in ["files", "vault"] {
            let config = object_store::Config {
                bucket: bucket.to_owned(),
                storage: stream::StorageType::Memory,
                ..object_store::Config::default()
            };
            let store = self.admin.create_object_store(config).await.unwrap();
            store.put("readme", &mut b"hello".as_slice()).await.unwrap();
        }
    }

    pub(crate) async fn stream(&self, name: &str) -> Stream {
        self.admin.get_stream(name).await.unwrap()
    }

    pub(crate) async fn bucket(&self, name: &str) -> Store {
        self.admin.get_key_value(name).await.unwrap()
    }

    pub(crate) async fn objects(&self, name: &str) -> ObjectStore {
        self.admin.get_object_store(name).await.unwrap()
    }

    /// A client of this role with a private inbox.
    pub(crate) async fn peer(&self, role: &str) -> Peer {
        let inbox = format!("_INBOX_{}", callgate::policy::encode(role));
        self.peer_with_inbox(role, &inbox).await
    }

    pub(crate) async fn peer_with_inbox(&self, role: &str, inbox: &str) -> Peer {
        let violations = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&violations);
        let options = login(role).custom_inbox_prefix(inbox).event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                seen.lock().unwrap().push(text);
            }
            async {}
        });
        let client = options.connect(self.site.server.url()).await.unwrap();
        let mut js = match self.domain {
            Some(domain) => jetstream::with_domain(client.clone(), domain),
            None => jetstream::new(client.clone()),
        };
        js.set_timeout(PATIENCE);
        Peer {
            role: role.to_owned(),
            js,
            api: self.domain.map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API")),
            client,
            patience: PATIENCE,
            violations,
        }
    }
}

/// A client.
pub(crate) struct Peer {
    role: String,
    pub(crate) client: Client,
    pub(crate) js: Context,
    /// The API's prefix.
    pub(crate) api: String,
    patience: Duration,
    violations: Arc<Mutex<Vec<String>>>,
}

/// Something that a client tries.
pub(crate) type Attempt<'a> = (String, BoxFuture<'a, Result<(), String>>);

/// An attempt, with a name for when it ends unexpectedly.
pub(crate) fn attempt<'a, T, E: std::fmt::Display>(
    name: impl Into<String>,
    future: impl Future<Output = Result<T, E>> + Send + 'a,
) -> Attempt<'a> {
    let named = future.map(|result| result.map(|_| ()).map_err(|error| error.to_string()));
    (name.into(), named.boxed())
}

/// Some attempts after others.
pub(crate) fn all<'a>(lists: impl IntoIterator<Item = Vec<Attempt<'a>>>) -> Vec<Attempt<'a>> {
    lists.into_iter().flatten().collect()
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Peer {
    /// The same client, which waits for nothing long: for attempts that must fail.
    pub(crate) fn hasty(&self) -> Self {
        let mut js = self.js.clone();
        js.set_timeout(HASTE);
        Self {
            role: self.role.clone(),
            client: self.client.clone(),
            js,
            api: self.api.clone(),
            patience: HASTE,
            violations: Arc::clone(&self.violations),
        }
    }

    pub(crate) fn is_hasty(&self) -> bool {
        self.patience == HASTE
    }

    /// Asks the API with a JSON body and wants an answer without an error in it.
    pub(crate) async fn ask(&self, verb: &str, body: serde_json::Value) -> Result<String, String> {
        let request = async_nats::Request::new()
            .payload(body.to_string().into())
            .timeout(Some(self.patience));
        let answer = self.client.send_request(format!("{}.{verb}", self.api), request).await;
        let text = answer.map_err(|error| error.to_string())?.payload;
        let text = String::from_utf8_lossy(&text).into_owned();
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match json.get("error") {
            None => Ok(text),
            Some(error) => Err(error.to_string()),
        }
    }

    /// Every attempt succeeds, and nothing is refused.
    pub(crate) async fn can(&self, attempts: Vec<Attempt<'_>>) {
        for (name, future) in attempts {
            let result = future.await;
            assert!(
                result.is_ok(),
                "{}: {name}: {result:?}; refused: {:?}",
                self.role,
                self.violations()
            );
        }
        assert_eq!(self.violations(), [""; 0], "{}", self.role);
    }

    /// Every attempt fails, each because the server refused something.
    pub(crate) async fn cannot(&self, attempts: Vec<Attempt<'_>>) {
        let before = self.violations().len();
        let count = attempts.len();
        let results =
            join_all(attempts.into_iter().map(|(name, future)| future.map(|r| (name, r)))).await;
        for (name, result) in results {
            assert!(result.is_err(), "{}: {name} was possible", self.role);
        }
        let what = format!("{}: a refusal for each of {count} attempts", self.role);
        let refused = async || (self.violations().len() - before >= count).then_some(());
        eventually(&what, PATIENCE, refused).await;
    }

    /// The server refuses to take anything on these subjects.
    pub(crate) async fn cannot_publish(&self, subjects: &[&str]) {
        let before = self.violations().len();
        for subject in subjects {
            self.client.publish((*subject).to_owned(), "".into()).await.unwrap();
        }
        self.client.flush().await.unwrap();
        let refused = async || (self.violations().len() - before == subjects.len()).then_some(());
        eventually("refusals", PATIENCE, refused).await;
        let violations = self.violations();
        for (subject, text) in subjects.iter().zip(&violations[before..]) {
            // A server rewrites its own domain's form before it looks.
            let rewritten = subject.replace(&self.api, "$JS.API");
            let named = [*subject, &rewritten].map(|subject| format!("\"{subject}\""));
            assert!(named.iter().any(|subject| text.contains(subject)), "{}: {text}", self.role);
        }
    }

    fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}

/// A role with a private inbox, changed by `change`.
pub(crate) fn role(change: impl FnOnce(&mut RoleSettings)) -> RoleSettings {
    let mut role = RoleSettings { inbox: Inbox::Private, ..RoleSettings::default() };
    change(&mut role);
    role
}

/// `streams = [{ name = "ORDERS", … }]`
pub(crate) fn orders(access: StreamAccess, domain: Option<&str>) -> RoleSettings {
    role(|role| {
        role.streams.push(StreamSettings {
            name: "ORDERS".to_owned(),
            access,
            consumer: None,
            subjects: Vec::new(),
            domain: domain.map(str::to_owned),
        });
    })
}

/// An entry of `kv` or `objects`.
pub(crate) fn bucket(name: &str, access: BucketAccess, domain: Option<&str>) -> BucketSettings {
    BucketSettings { bucket: name.to_owned(), access, domain: domain.map(str::to_owned) }
}
