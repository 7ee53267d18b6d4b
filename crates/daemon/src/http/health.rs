//! `/healthz`: whether the engine's control thread answers in time.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use umacvlan_api::{Code, Health, Problem};

use super::problem::problem;
use super::{App, VERSION};
use crate::ServiceError;

/// Whether the daemon works: the control thread of the engine has responded.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "daemon",
    responses(
        (status = 200, description = "The daemon works.", body = Health),
        (status = 503, description = "The engine does not respond.", body = Problem),
    )
)]
pub(super) async fn healthz(State(app): State<App>) -> Result<Answer<Health>, ServiceError> {
    let backend = Arc::clone(&app.backend);
    if answers(&app.health, move || (backend.alive)()).await {
        return Ok(Answer(Health { status: "ok".to_owned(), version: VERSION.to_owned() }));
    }
    let seconds = ALIVE.as_secs();
    let why = format!("the engine does not respond within {seconds} s: restart the daemon");
    Err(problem(Code::Busy, why))
}

/// Whether `alive` returns true in time. If it hangs, only one thread waits for it.
async fn answers(turn: &Arc<Semaphore>, alive: impl FnOnce() -> bool + Send + 'static) -> bool {
    let check = async {
        let turn = Arc::clone(turn).acquire_owned().await.ok()?;
        let alive = spawn_blocking(move || {
            let _turn = turn;
            alive()
        });
        alive.await.ok()
    };
    timeout(ALIVE, check).await.is_ok_and(|alive| alive == Some(true))
}

/// Time limit of the engine's response.
const ALIVE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_check_that_hangs_panics_or_fails_is_unhealthy() {
        let turn = Arc::new(Semaphore::new(1));
        assert!(answers(&turn, || true).await);
        assert!(!answers(&turn, || false).await);
        assert!(!answers(&turn, || panic!("as the test wants it")).await);
        let (release, released) = channel::<()>();
        assert!(!answers(&turn, move || released.recv().is_err()).await);
        // While one check hangs, no other one is started.
        assert!(!answers(&turn, || unreachable!()).await);
        drop(release);
        assert!(answers(&turn, || true).await);
    }
}
