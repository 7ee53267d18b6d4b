//! The HTTP server of the daemon: [`Service`] for the clients of a Unix socket.
//!
//! All input is untrusted: `limits` bounds amounts and times, `auth` authorizes clients,
//! `body` parses requests. `router` has all routes; handlers are in a file for each group of
//! routes.
//!
//! # Threads
//! The runtime's thread only reads, writes and waits. Calls of the service run one at a time on a
//! thread for blocking work, so that a slow call does not block other connections.

mod auth;
mod body;
mod capture;
mod config;
mod events;
mod health;
mod limits;
mod links;
mod listen;
mod log;
mod metrics;
mod openapi;
mod problem;
mod router;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tracing::Span;

pub use self::body::read_body;
use self::limits::ConnectionLimits;
use super::log::Log;
use super::service::{Service, Shared, lock_service};
use crate::ServiceError;
use umacvlan_api::Code;

/// Options of the server.
pub struct ServerOptions {
    /// The service.
    pub service: Shared,
    /// The log, whose filter clients may change.
    pub log: Log,
    /// The group whose members may change things, beside root.
    pub admins: Option<u32>,
    /// Checks that the engine's control thread responds; may block. It does not need the service,
    /// which may be busy with a long change.
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions").field("admins", &self.admins).finish_non_exhaustive()
    }
}

/// Serves the clients of `listener` and, for root only, those of `plugin` until `shutdown`; then
/// requests under way have a few seconds to finish.
pub async fn serve(
    listener: UnixListener,
    backend: ServerOptions,
    plugin: Option<(UnixListener, Router)>,
    shutdown: impl Future<Output = ()>,
) {
    let (close, closing) = watch::channel(false);
    let closing = Closing(closing);
    let app = App {
        backend: Arc::new(backend),
        turn: Arc::new(Semaphore::new(1)),
        health: Arc::new(Semaphore::new(1)),
        started: Instant::now(),
        closing: closing.clone(),
    };
    let router = router::router(app);
    let close_then = async {
        shutdown.await;
        close.send_replace(true);
    };
    let plugin = async {
        if let Some((listener, router)) = plugin {
            listen::accept(listener, router, ConnectionLimits::of_root(), closing.clone()).await;
        }
    };
    let clients = listen::accept(listener, router, ConnectionLimits::new(), closing.clone());
    tokio::join!(close_then, clients, plugin);
}

/// The version of the daemon.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The state of all handlers.
#[derive(Clone, Debug)]
struct App {
    backend: Arc<ServerOptions>,
    /// Held during a call of the service. Requests wait for it here and not on threads.
    turn: Arc<Semaphore>,
    /// The same for health checks.
    health: Arc<Semaphore>,
    started: Instant,
    closing: Closing,
}

/// Resolves when the daemon ends.
#[derive(Clone, Debug)]
struct Closing(watch::Receiver<bool>);

impl Closing {
    async fn wait(&self) {
        // A dropped sender also means the end.
        let _ = self.0.clone().wait_for(|&closing| closing).await;
    }
}

impl App {
    /// Calls the service. A call goes on to its end even if the client disconnects.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Service) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Err(problem::problem(Code::Internal, "the daemon is about to end"));
        };
        let backend = Arc::clone(&self.backend);
        let span = Span::current();
        let called = spawn_blocking(move || {
            let _turn = turn;
            let _span = span.enter();
            call(&mut lock_service(&backend.service))
        });
        called.await.unwrap_or_else(|_| Err(problem::panicked()))
    }
}
