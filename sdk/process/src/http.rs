//! `/healthz`, `/metrics` and `/status`, and what a node serves besides.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};

use crate::Health;
use crate::inbox::{self, Inbox};

type Status = Arc<dyn Fn() -> Value + Send + Sync>;
type Find = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;

/// What a process serves besides health and metrics.
#[derive(Clone)]
pub struct Pages {
    status: Status,
    find: Find,
    inbox: Option<Inbox>,
}

impl Pages {
    /// Only `/status`.
    pub fn new(status: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        Self { status: Arc::new(status), find: Arc::new(|_| None), inbox: None }
    }

    /// The same with further pages, JSON, by their paths without the first slash.
    #[must_use]
    pub fn finding(self, find: impl Fn(&str) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), ..self }
    }

    /// The same with `/documents`.
    #[must_use]
    pub fn taking(self, inbox: Inbox) -> Self {
        Self { inbox: Some(inbox), ..self }
    }
}

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
    serve_pages(address, health, Pages::new(status))
}

/// Serves `/healthz`, `/metrics` and these pages, as [`serve_http`] does.
///
/// # Errors
/// When the address can't be listened on.
pub fn serve_pages(address: SocketAddr, health: Health, pages: Pages) -> std::io::Result<HttpHandle> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let metrics = recorder();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .app_data(web::Data::new(pages.clone()))
            .app_data(web::Data::new(pages.inbox.clone()))
            .route("/healthz", web::get().to(healthz))
            .route("/metrics", web::get().to(render))
            .route("/status", web::get().to(show))
            .route("/documents", web::post().to(inbox::post))
            .route("/documents", web::get().to(inbox::get))
            .default_service(web::get().to(find))
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

async fn show(pages: web::Data<Pages>) -> HttpResponse {
    HttpResponse::Ok().json((pages.status)())
}

async fn find(pages: web::Data<Pages>, request: HttpRequest) -> HttpResponse {
    match (pages.find)(request.path().trim_start_matches('/')) {
        Some(page) => HttpResponse::Ok().json(page),
        None => HttpResponse::NotFound().json(json!({"error": "there is no such page"})),
    }
}
