//! HTTP: `/healthz` (the process is alive) and `/readyz` (it takes uploads). Knows no file and no user.

mod listener;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::control::Desk;
use crate::lifecycle::Lifecycle;
use listener::Bounded;

/// An orchestrator must not be told yesterday's news.
const FRESH: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// Serves until everything must stop; goes on during a drain, so that an orchestrator sees it.
pub async fn run<D: Desk>(listener: TcpListener, desk: Arc<D>, lifecycle: Lifecycle) {
    let served = axum::serve(Bounded::new(listener), router(desk));
    tokio::select! {
        () = lifecycle.cut() => {}
        // Ends never: the listener waits out every error.
        _ = served => {}
    }
}

fn router<D: Desk>(desk: Arc<D>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz::<D>)).with_state(desk)
}

async fn healthz() -> impl IntoResponse {
    (FRESH, "ok\n")
}

async fn readyz<D: Desk>(State(desk): State<Arc<D>>) -> impl IntoResponse {
    let health = desk.health().await;
    let status = if health.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, FRESH, Json(health))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::control::Health;
    use crate::delivery::Registry;

    #[derive(Default)]
    struct Fake {
        registry: Registry,
        good: AtomicBool,
    }

    impl Desk for Fake {
        async fn health(&self) -> Health {
            Health { database: self.good.load(Ordering::Relaxed), ..Health::default() }
        }
        async fn reload(&self) -> Result<(), String> {
            Ok(())
        }
        fn registry(&self) -> &Registry {
            &self.registry
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn alive_and_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (desk, lifecycle) = (Arc::new(Fake::default()), Lifecycle::default());
        let task = tokio::spawn(run(listener, desk.clone(), lifecycle.clone()));
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        desk.good.store(true, Ordering::Relaxed);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
        lifecycle.stop();
        task.await.unwrap();
    }
}
