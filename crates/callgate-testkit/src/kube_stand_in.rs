//! A stand-in for the few kube-apiserver endpoints that Callgate uses, for machines without one:
//! service accounts (list in pages, watch with bookmarks and 410, create, patch, delete),
//! TokenRequest, TokenReview, discovery, keys, and RBAC for users with static tokens.
//!
//! The same tests also run against the real one (`make test-kubernetes`), which keeps it accurate.

mod rbac;
mod store;
mod tokens;
mod watch;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch as channel};

use crate::ports::free_port;
use store::{Parameters, Store};
use tokens::Signing;

/// A running stand-in; its data survives a stop.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    world: Arc<World>,
    runtime: Option<Runtime>,
}

/// Its data.
#[derive(Debug)]
struct World {
    store: Mutex<Store>,
    signing: Mutex<Signing>,
    rules: Mutex<rbac::Rules>,
    changed: channel::Sender<u64>,
}

impl World {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signing(&self) -> MutexGuard<'_, Signing> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> MutexGuard<'_, rbac::Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let version = self.store().version();
        self.changed.send_replace(version);
    }
}

impl StandIn {
    /// Starts one on a free port of this machine.
    pub fn start() -> Self {
        let world = Arc::new(World {
            store: Mutex::default(),
            signing: Mutex::new(Signing::new()),
            rules: Mutex::default(),
            changed: channel::Sender::new(0),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut this = Self { address, world, runtime: None };
        this.resume();
        this
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection and stops listening.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Listens again.
    pub fn resume(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (address, router) = (self.address, router(Arc::clone(&self.world)));
        let (bound, wait) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // The old socket may take a moment to close.
            let listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            };
            bound.send(()).expect("the caller waits");
            axum::serve(listener, router).await.expect("it serves");
        });
        wait.recv().expect("it listens");
        self.runtime = Some(runtime);
    }

    /// Signs with another key from now on.
    pub fn rotate_key(&self) {
        *self.world.signing() = Signing::new();
    }

    /// Drops the history, so that no watch can continue from before now.
    pub fn forget_history(&self) {
        self.world.store().forget_history();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

type Shared = State<Arc<World>>;

fn router(world: Arc<World>) -> Router {
    let accounts = "/api/v1/namespaces/{namespace}/serviceaccounts";
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/openid/v1/jwks", get(keys))
        .route("/api/v1/namespaces", post(create_namespace))
        .route("/api/v1/serviceaccounts", get(read_all))
        .route(accounts, get(read_namespace).post(create))
        .route(&format!("{accounts}/{{name}}"), patch(change).delete(delete))
        .route(&format!("{accounts}/{{name}}/token"), post(request_token))
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review_token))
        .route("/apis/rbac.authorization.k8s.io/v1/clusterroles", post(create_role))
        .route("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", post(bind_role))
        .layer(middleware::from_fn_with_state(Arc::clone(&world), authorize))
        .with_state(world)
}

async fn authorize(State(world): Shared, request: Request, next: Next) -> Response {
    let allowed = {
        let rules = world.rules();
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        rules.check(header, request.method(), request.uri())
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err((code, message)) => failure(code, message),
    }
}

/// A Kubernetes error status.
fn failure(code: StatusCode, message: impl Into<String>) -> Response {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message.into(), "reason": reason, "code": code.as_u16(),
    });
    (code, [("content-type", "application/json")], status.to_string()).into_response()
}

fn good(code: StatusCode, body: &Value) -> Response {
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).expect("requests are JSON")
}

async fn discovery() -> Response {
    let document = json!({
        "issuer": tokens::ISSUER,
        // As in a real one: a public address that Callgate must not need.
        "jwks_uri": "https://192.0.2.1:6443/openid/v1/jwks",
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    good(StatusCode::OK, &document)
}

async fn keys(State(world): Shared, headers: HeaderMap) -> Response {
    let accepted = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    if !["*/*", "application/jwk-set+json"].iter().any(|kind| accepted.contains(kind)) {
        return failure(StatusCode::NOT_ACCEPTABLE, "406: Not Acceptable");
    }
    let keys = world.signing().public();
    (StatusCode::OK, [("content-type", "application/jwk-set+json")], keys.to_string())
        .into_response()
}

async fn create_namespace(State(world): Shared, body: Bytes) -> Response {
    let body = parsed(&body);
    world.store().add_namespace(body["metadata"]["name"].as_str().expect("a name"));
    good(StatusCode::CREATED, &body)
}

async fn read_all(State(world): Shared, Query(parameters): Query<Parameters>) -> Response {
    read(&world, None, parameters)
}

async fn read_namespace(
    State(world): Shared,
    Path(namespace): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    read(&world, Some(namespace), parameters)
}

fn read(world: &Arc<World>, namespace: Option<String>, parameters: Parameters) -> Response {
    if parameters.watch() {
        return Response::new(Body::from_stream(watch::events(
            Arc::clone(world),
            namespace,
            parameters,
        )));
    }
    match world.store().list(namespace.as_deref(), &parameters) {
        Some(list) => good(StatusCode::OK, &list),
        None => failure(StatusCode::GONE, "the provided continue parameter is too old"),
    }
}

async fn create(State(world): Shared, Path(namespace): Path<String>, body: Bytes) -> Response {
    let made = world.store().create(&namespace, &parsed(&body)["metadata"]);
    world.tell();
    match made {
        Some(made) => good(StatusCode::CREATED, &made),
        None => failure(StatusCode::NOT_FOUND, format!("namespaces \"{namespace}\" not found")),
    }
}

async fn change(
    State(world): Shared,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let changed = world.store().change(&namespace, &name, &parsed(&body)["metadata"]);
    world.tell();
    changed.map_or_else(|| missing(&name), |changed| good(StatusCode::OK, &changed))
}

async fn delete(State(world): Shared, Path((namespace, name)): Path<(String, String)>) -> Response {
    let gone = world.store().delete(&namespace, &name);
    world.tell();
    gone.map_or_else(|| missing(&name), |gone| good(StatusCode::OK, &gone))
}

fn missing(name: &str) -> Response {
    failure(StatusCode::NOT_FOUND, format!("serviceaccounts \"{name}\" not found"))
}

async fn request_token(
    State(world): Shared,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let Some(uid) = world.store().uid(&namespace, &name) else { return missing(&name) };
    let spec = parsed(&body)["spec"].clone();
    let token = world.signing().mint(&namespace, &name, &uid, &spec);
    good(
        StatusCode::CREATED,
        &json!({"kind": "TokenRequest", "spec": spec, "status": {"token": token}}),
    )
}

async fn review_token(State(world): Shared, body: Bytes) -> Response {
    let spec = parsed(&body)["spec"].clone();
    let read = world.signing().read(&spec);
    let status = read.and_then(|claims| {
        let uid = world.store().uid(&claims.namespace, &claims.name);
        match uid.as_deref() == Some(claims.uid.as_str()) {
            true => Ok(claims.status()),
            false => Err("Token has been invalidated".to_owned()),
        }
    });
    let status = status.unwrap_or_else(|error| json!({"user": {}, "error": error}));
    good(
        StatusCode::CREATED,
        &json!({"kind": "TokenReview", "metadata": {}, "spec": {}, "status": status}),
    )
}

async fn create_role(State(world): Shared, body: Bytes) -> Response {
    let body = parsed(&body);
    world.rules().add_role(&body);
    good(StatusCode::CREATED, &body)
}

async fn bind_role(State(world): Shared, body: Bytes) -> Response {
    let body = parsed(&body);
    world.rules().bind(&body);
    good(StatusCode::CREATED, &body)
}
