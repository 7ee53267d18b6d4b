//! The daemon's HTTP service: what [`Service`] can do, for whoever may connect to its socket.
//!
//! Everything that comes in here is untrusted. Each part has one thing to guard: [`limits`] how
//! much and how long, [`auth`] who, [`body`] what. Nothing here is on the way of a frame.
//!
//! # Threads
//! The runtime's own thread only reads, writes and waits. Calls of the service are made one at a
//! time on a thread for blocking work, so that a slow one leaves every connection alive.

mod auth;
mod body;
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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tracing::Span;

pub use self::body::read_body;
use self::limits::ConnectionLimits;
use super::log::Log;
use super::service::Service;
use crate::error::ServiceError;
use umacvlan_api::Code;

/// What the service answers from.
pub struct ServerOptions {
    pub service: Arc<Mutex<Service>>,
    pub log: Log,
    /// The group whose members may change things, beside root.
    pub admins: Option<u32>,
    /// Asks the engine's control thread for a sign of life; may block. It is called apart from the
    /// service, which may have a long change under way.
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions").field("admins", &self.admins).finish_non_exhaustive()
    }
}

/// Serves whoever connects to `listener`, and root who connects to that of `plugin`, until
/// `shutdown`; then what is under way may end, within a few seconds.
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

/// The daemon's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What every handler can reach.
#[derive(Clone, Debug)]
struct App {
    backend: Arc<ServerOptions>,
    /// Whose turn it is to call the service: the others wait here and not on threads.
    turn: Arc<Semaphore>,
    /// The same for signs of life.
    health: Arc<Semaphore>,
    started: Instant,
    closing: Closing,
}

/// Tells when the daemon is about to end.
#[derive(Clone, Debug)]
struct Closing(watch::Receiver<bool>);

impl Closing {
    async fn wait(&self) {
        // Nobody is left to say so: that is the end as well.
        let _ = self.0.clone().wait_for(|&closing| closing).await;
    }
}

impl App {
    /// Calls the service. Once begun the call goes on to its end, whether or not the client is
    /// there to hear of it.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Service) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Err(problem::problem(Code::Internal, "the daemon is about to end"));
        };
        let backend = Arc::clone(&self.backend);
        let asked = Span::current();
        let called = spawn_blocking(move || {
            let _turn = turn;
            let _asked = asked.enter();
            // What a call that panicked has left behind is better than nothing for anybody.
            call(&mut backend.service.lock().unwrap_or_else(PoisonError::into_inner))
        });
        called.await.unwrap_or_else(|_| Err(problem::panicked()))
    }
}
