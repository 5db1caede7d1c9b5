//! The admin endpoint: `/livez`, `/readyz` and `/metrics`.
//!
//! It has no authentication, so clients of the port must not be able to disturb logins: every
//! connection is limited in time and size, and their number is limited too.

mod connections;
mod descriptors;

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use connections::Connections;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    health::Health,
    telemetry::{Exposition, Metrics},
};

/// For the request line and the headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For the whole connection, which serves one request: a client that does not read its response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the request line and the headers, in bytes.
const MAX_HEADERS_SIZE: usize = 8 * 1024;
/// The pause before the next `accept` when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

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
    error: io::Error,
}

/// Binds the port before anything else starts, so that a port in use is reported early.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| BindError { address, error })
}

/// Serves until `stopped`, which closes all connections.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, stopped: impl Future<Output = ()>) {
    let mut connections = Connections::default();
    let accept_all = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if descriptors::is_reserved(&stream) => connections.evict(),
                Ok((stream, peer)) => connections.add(peer.ip(), serve_one(stream, admin.clone())),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::debug!(%error, "the admin endpoint cannot accept a connection");
                    connections.evict();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = stopped => {}
    }
}

/// True if the client is gone already. Other errors, such as a lack of descriptors, leave the
/// connection in the queue, so that the next `accept` fails in the same way.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers one request and closes the connection.
async fn serve_one(stream: TcpStream, admin: Admin) {
    let answer = |request: Request<Incoming>| {
        std::future::ready(Ok::<_, Infallible>(respond(&admin, &request)))
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS_SIZE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // The errors are those of the client.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

fn respond(admin: &Admin, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return text(StatusCode::NOT_FOUND, "not found\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if !request.body().is_end_stream() {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "a request body is not accepted\n");
    }
    match path {
        "/readyz" => readyz(admin),
        "/metrics" => metrics(admin, request),
        // That the event loop runs this handler is the proof of life.
        _ => text(StatusCode::OK, "ok\n"),
    }
}

fn readyz(admin: &Admin) -> Response<Full<Bytes>> {
    match admin.health.state() {
        Ok(remarks) => {
            let remarks = remarks.into_iter().map(|remark| format!("{remark}\n"));
            text(StatusCode::OK, format!("ready\n{}", remarks.collect::<String>()))
        }
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

fn metrics(admin: &Admin, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request.headers().get_all(ACCEPT).iter();
    let format = Exposition::negotiate(accept.filter_map(|value| value.to_str().ok()));
    admin.metrics.set_ready(admin.health.state().is_ok());
    let Ok(samples) = admin.metrics.render() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be formatted\n");
    };
    of_type(StatusCode::OK, format.content_type(), format.convert(samples))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    of_type(status, "text/plain; charset=utf-8", body)
}

fn of_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
