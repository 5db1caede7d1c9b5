//! The admin endpoint: `/livez`, `/readyz` and `/metrics`.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    health::Health,
    telemetry::{Exposition, Metrics},
};

/// State of the handlers.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
}

/// Listening on the admin address failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "admin.listen: cannot listen on {address}: {error}; free the port or choose another one (an \
     empty string disables the endpoint)"
)]
pub(crate) struct BindError {
    address: SocketAddr,
    error: std::io::Error,
}

/// Binds the port before anything else starts, so that a port in use is reported early.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| BindError { address, error })
}

/// Serves until `stopped`.
pub(crate) async fn serve(
    listener: TcpListener,
    admin: Admin,
    stopped: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the admin endpoint stopped");
    }
}

/// Always succeeds: that the event loop runs this handler is the proof of life.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.health.state() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Exposition::negotiate(accept);
    match admin.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], format.convert(text)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
