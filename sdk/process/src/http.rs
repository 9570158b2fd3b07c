//! `/healthz`, `/metrics` and `/status`.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};

use crate::Health;

type Status = Arc<dyn Fn() -> Value + Send + Sync>;

/// A running HTTP server.
pub struct HttpHandle {
    address: SocketAddr,
    server: ServerHandle,
}

impl HttpHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it, after the requests that are under way.
    pub async fn stop(self) {
        self.server.stop(true).await;
    }
}

/// Serves `/healthz` (200 or 503 with the faults), `/metrics` (Prometheus text) and `/status` (what `status`
/// gives) on `address`. Must be called inside a tokio or actix runtime.
///
/// # Errors
/// When the address can't be listened on.
pub fn serve_http(
    address: SocketAddr,
    health: Health,
    status: impl Fn() -> Value + Send + Sync + 'static,
) -> std::io::Result<HttpHandle> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let status: Status = Arc::new(status);
    let metrics = recorder();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .app_data(web::Data::new(status.clone()))
            .route("/healthz", web::get().to(healthz))
            .route("/metrics", web::get().to(render))
            .route("/status", web::get().to(show))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(HttpHandle { address, server: handle })
}

/// The process's only recorder of metrics.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            PrometheusBuilder::new()
                .install_recorder()
                .expect("no other recorder is ever installed in a Wattle process")
        })
        .clone()
}

async fn healthz(health: web::Data<Health>) -> HttpResponse {
    let faults = health.faults();
    if faults.is_empty() {
        return HttpResponse::Ok().json(json!({"healthy": true}));
    }
    let faults: serde_json::Map<_, _> =
        faults.into_iter().map(|(part, why)| (part.to_string(), Value::String(why))).collect();
    HttpResponse::ServiceUnavailable().json(json!({"healthy": false, "faults": faults}))
}

async fn render(metrics: web::Data<PrometheusHandle>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(metrics.render())
}

async fn show(status: web::Data<Status>) -> HttpResponse {
    HttpResponse::Ok().json(status.get_ref()())
}
