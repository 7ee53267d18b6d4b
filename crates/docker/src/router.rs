//! The routes of the driver. A response is a JSON object. A refusal is an object with the reason in
//! `Err` and status 200, because Docker shows the reason unchanged to the user then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::protocol::{
    CreateEndpointRequest, CreateNetworkRequest, EndpointRequest, GatewayRequest, GatewayResponse,
    NetworkRequest,
};
use super::{Driver, DriverError, network};
use umacvlan_daemon::http::read_body;
use umacvlan_daemon::{Service, Shared, lock_service};

/// The interval of [`sweep`].
const SWEEP: Duration = Duration::from_secs(30);

/// The state of all handlers: the service and the driver.
#[derive(Clone, Debug)]
pub struct App {
    service: Shared,
    driver: Arc<Mutex<Driver>>,
    /// Held during a call. Requests wait for it here and not on threads.
    turn: Arc<Semaphore>,
}

impl App {
    /// Serves `driver` with `service`.
    pub fn new(service: Shared, driver: Driver) -> Self {
        let driver = Arc::new(Mutex::new(driver));
        Self { service, driver, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Calls the driver on a thread for blocking work. A call goes on to its end even if Docker
    /// closes the connection.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Driver, &mut Service) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Err(DriverError::new("the daemon is about to end"));
        };
        let app = self.clone();
        let called = spawn_blocking(move || {
            let _turn = turn;
            // After a panic in another call the state is still served.
            let mut driver = app.driver.lock().unwrap_or_else(PoisonError::into_inner);
            call(&mut driver, &mut lock_service(&app.service))
        });
        let bug = "umacvlan has a bug: its log has the place, please report it";
        let answer = called.await.unwrap_or_else(|_| Err(DriverError::new(bug)));
        if let Err(refused) = &answer {
            tracing::warn!("docker: refused: {refused}");
        }
        answer
    }
}

/// All routes that Docker calls.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/Plugin.Activate", post(activate))
        .route("/NetworkDriver.GetCapabilities", post(capabilities))
        .route("/NetworkDriver.GwAllocCheck", post(gateways))
        .route("/NetworkDriver.AllocateNetwork", post(allocate))
        .route("/NetworkDriver.FreeNetwork", post(nothing))
        .route("/NetworkDriver.CreateNetwork", post(create_network))
        .route("/NetworkDriver.DeleteNetwork", post(delete_network))
        .route("/NetworkDriver.CreateEndpoint", post(create_endpoint))
        .route("/NetworkDriver.EndpointOperInfo", post(info))
        .route("/NetworkDriver.DeleteEndpoint", post(delete_endpoint))
        .route("/NetworkDriver.Join", post(join))
        .route("/NetworkDriver.Leave", post(leave))
        .route("/NetworkDriver.ProgramExternalConnectivity", post(nothing))
        .route("/NetworkDriver.RevokeExternalConnectivity", post(nothing))
        .route("/NetworkDriver.DiscoverNew", post(nothing))
        .route("/NetworkDriver.DiscoverDelete", post(nothing))
        .fallback(unknown)
        .with_state(app)
}

/// Removes links that were left behind, every 30 seconds, for as long as the future is polled.
pub async fn sweep(app: App) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sweep = |driver: &mut Driver, service: &mut Service| {
            driver.sweep(service, Instant::now());
            Ok(())
        };
        // An error has been logged, and the next tick tries again.
        let _ = app.call(sweep).await;
    }
}

/// A JSON body. Docker does not send a content type.
struct Json<T>(T);

/// A JSON body, absent where Docker repeats a call that was under way when a daemon ended: Docker
/// repeats such a call without its body.
struct OptionalJson<T>(Option<T>);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let OptionalJson(read) = OptionalJson::from_request(request, state).await?;
        let lost = || DriverError::new(BODY_LOST).into_response();
        read.map(Self).ok_or_else(lost)
    }
}

const BODY_LOST: &str = "the daemon of umacvlan was restarted during this call, and Docker repeats \
                         it without its body: try again";

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let wrong = |why: String| (StatusCode::BAD_REQUEST, DriverError(why)).into_response();
        let body =
            read_body(request.into_body()).await.map_err(|problem| wrong(problem.0.message))?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        let read = serde_json::from_slice(&body);
        read.map(|read| Self(Some(read)))
            .map_err(|error| wrong(format!("the body is not what is expected: {error}")))
    }
}

impl IntoResponse for DriverError {
    fn into_response(self) -> Response {
        axum::Json(json!({ "Err": self.0 })).into_response()
    }
}

type Answer<T = Value> = Result<axum::Json<T>, DriverError>;

fn done<T: Serialize>(answer: Result<T, DriverError>) -> Answer<T> {
    answer.map(axum::Json)
}

fn empty(answer: Result<(), DriverError>) -> Answer {
    answer.map(|()| axum::Json(json!({})))
}

async fn activate() -> axum::Json<Value> {
    axum::Json(json!({ "Implements": ["NetworkDriver"] }))
}

/// As of Docker's macvlan driver: networks of this host, through which others are reached.
async fn capabilities() -> axum::Json<Value> {
    axum::Json(json!({
        "Scope": "local",
        "ConnectivityScope": "global",
        "GwAllocChecker": true,
    }))
}

/// As Docker 28's macvlan driver: an internal network needs no gateway. On any other Docker reserves
/// the first address of a subnet, unless the user has named another gateway.
async fn gateways(Json(request): Json<GatewayRequest>) -> axum::Json<GatewayResponse> {
    let skip = network::is_internal(&request.options);
    axum::Json(GatewayResponse { skip_ipv4: skip, skip_ipv6: skip })
}

async fn allocate() -> axum::Json<Value> {
    axum::Json(json!({ "Options": {} }))
}

/// Calls that need nothing.
async fn nothing() -> axum::Json<Value> {
    axum::Json(json!({}))
}

/// Docker treats status 404 as a call that the driver does not implement.
async fn unknown(uri: Uri) -> Response {
    let why = DriverError::new(format!("umacvlan has no {}", uri.path()));
    (StatusCode::NOT_FOUND, why).into_response()
}

async fn create_network(
    State(app): State<App>,
    Json(request): Json<CreateNetworkRequest>,
) -> Answer {
    empty(app.call(move |driver, service| driver.create_network(service, &request)).await)
}

async fn delete_network(State(app): State<App>, Json(request): Json<NetworkRequest>) -> Answer {
    empty(app.call(move |driver, service| driver.delete_network(service, &request)).await)
}

async fn create_endpoint(
    State(app): State<App>,
    Json(request): Json<CreateEndpointRequest>,
) -> Answer<impl Serialize> {
    done(app.call(move |driver, service| driver.create_endpoint(service, &request)).await)
}

/// Without a body there is nothing to do: a link that has left its container is removed when a
/// daemon starts.
async fn delete_endpoint(
    State(app): State<App>,
    OptionalJson(request): OptionalJson<EndpointRequest>,
) -> Answer {
    let request = request.unwrap_or_default();
    empty(app.call(move |driver, service| driver.delete_endpoint(service, &request)).await)
}

async fn info(
    State(app): State<App>,
    Json(request): Json<EndpointRequest>,
) -> Answer<impl Serialize> {
    done(app.call(move |driver, service| driver.info(service, &request)).await)
}

async fn join(
    State(app): State<App>,
    Json(request): Json<EndpointRequest>,
) -> Answer<impl Serialize> {
    done(app.call(move |driver, service| driver.join(service, &request)).await)
}

/// Without a body there is nothing to do: Docker deletes the endpoint next.
async fn leave(
    State(app): State<App>,
    OptionalJson(request): OptionalJson<EndpointRequest>,
) -> Answer {
    let request = request.unwrap_or_default();
    empty(app.call(move |driver, service| driver.leave(service, &request)).await)
}
