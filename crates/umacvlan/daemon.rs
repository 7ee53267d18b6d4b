//! `umacvlan daemon`: parents and links that outlive the command that asked for them.
//!
//! Start-up goes from what can be refused cheaply to what cannot be taken back: the configuration
//! is read, the state directory locked, the socket bound, privileges given up; only then the
//! engine starts, takes up what a former daemon has left, and serves.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use tokio::net::UnixListener;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{EngineOptions, SubId};
use umacvlan_sys::netns::reachable;
use umacvlan_sys::process::{inherited_descriptor, raise_descriptor_limit};

use umacvlan_api as api;
use umacvlan_config::{Config, DEFAULT_FILE, DaemonConfig, OnExit};
use umacvlan_daemon::http::{self, ServerOptions};
use umacvlan_daemon::log::{self, Log};
use umacvlan_daemon::service::{self, ServiceOptions};
use umacvlan_daemon::store::{SavedState, Store};
use umacvlan_daemon::{Service, Shared, lock_service, sandbox, socket, systemd};
use umacvlan_docker::{self as docker, Driver};
use umacvlan_engine::cpus;

/// Where links are written down unless it is told otherwise.
const DEFAULT_STATE: &str = "/run/umacvlan/state";

/// Forward for links until SIGTERM or SIGINT, and do what clients ask over a socket.
///
/// Links outlive the daemon: when it ends they wait without carrier, and the next one serves them
/// on, wherever they have been moved. SIGHUP reads the configuration again.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The configuration [default: /etc/umacvlan/umacvlan.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where links are written down, to be found again [default: /run/umacvlan/state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Be Docker's network driver, on a socket where dockerd looks for it
    /// [default: /run/docker/plugins/umacvlan.sock]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = docker::DEFAULT_SOCKET)]
    docker: Option<PathBuf>,

    /// Where Docker's networks are written down, to be known after a boot, too
    /// [default: /var/lib/umacvlan/docker]
    #[arg(long, value_name = "DIR")]
    docker_state: Option<PathBuf>,

    /// Write "ready" to this descriptor, which was opened by whoever starts the daemon, and close
    /// it, when everything is served
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    ready_fd: Option<i32>,

    /// What becomes of the links when the daemon ends [default: keep]
    #[arg(long, value_name = "WHAT")]
    on_exit: Option<Exit>,

    /// The group, by name or number, whose members may read [default: root only]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// The group, by name or number, whose members may change things [default: root only]
    #[arg(long, value_name = "NAME")]
    admin_group: Option<String>,

    /// What to log: a level (error, warn, info, debug, trace, off) or TARGET=LEVEL with commas
    /// [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Exit {
    /// They stay, without carrier, and the next daemon serves them
    Keep,
    /// They are removed
    Remove,
}

/// Everything that is ready before the engine starts.
struct Prepared {
    service: Shared,
    socket: socket::Socket,
    log: Log,
    admins: Option<u32>,
    /// Docker's socket, and what is done there.
    docker: Option<(socket::Socket, Driver)>,
}

/// Serves until a signal ends it. `socket` is the path that was typed.
pub(crate) fn run(args: &DaemonArgs, socket: Option<&Path>) -> Result<ExitCode> {
    let ready = args.ready_fd.map(inherited_descriptor).transpose();
    let ready = ready.context("--ready-fd: there is no such descriptor open")?;
    let prepared = prepare(args, socket)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let service = Arc::clone(&prepared.service);
    let followed = service::follow_engine_events(&service)?;
    runtime.block_on(serve(prepared, || {
        let said = ready.map(|ready| std::fs::File::from(ready).write_all(b"ready\n"));
        // Whoever started the daemon waits no longer.
        let _ = said.unwrap_or(Ok::<(), io::Error>(()));
    }))?;
    let remove = match args.on_exit {
        Some(exit) => matches!(exit, Exit::Remove),
        None => lock_service(&service).on_exit() == OnExit::Remove,
    };
    if remove {
        lock_service(&service).remove_all();
    }
    // The last one to let go of the service ends the engine. The links are to be without carrier
    // when this process is gone, so that is waited for.
    drop(runtime);
    drop(service);
    // A panic of that thread has been printed.
    let _ = followed.join();
    Ok(ExitCode::SUCCESS)
}

/// Goes as far as everything that needs no event loop.
fn prepare(args: &DaemonArgs, socket: Option<&Path>) -> Result<Prepared> {
    let log = Log::start(args.log.as_deref().unwrap_or(log::DEFAULT_FILTER))?;
    let (config_file, config) = load(args.config.as_deref())?;
    let default = log::DEFAULT_FILTER.to_owned();
    if let (None, Some(filter)) = (&args.log, &config.daemon.log) {
        log.set(filter)?;
    }
    let DaemonConfig { state, group, admin_group, .. } = &config.daemon;
    let state = args.state.clone().or_else(|| state.as_ref().map(PathBuf::from));
    let (store, found) = Store::open(&state.unwrap_or_else(|| DEFAULT_STATE.into()))?;
    let group = socket::group(args.group.as_ref().or(group.as_ref()))?;
    let admins = socket::group(args.admin_group.as_ref().or(admin_group.as_ref()))?;
    let socket = socket::Socket::open(&path(socket, &config.daemon), group.or(admins))?;
    let mut docker = open_docker(args, &config)?;
    // Refused only where the limit may not be read: then the one there is has to do.
    let _ = raise_descriptor_limit();
    // With all privileges still, to see what other users' processes hold.
    let places = if found.links.is_empty() { Vec::new() } else { reachable() };
    let worker = sandbox::WorkerSandbox::new()?;
    sandbox::confine_process()?;
    let engine = EngineOptions { on_worker: Some(Arc::new(move || worker.confine())) };
    let before = applied(&found);
    // What was typed is not for the configuration to change.
    let changeable = args.log.is_none().then(|| (log.clone(), default));
    let mut service =
        Service::start(ServiceOptions { store, engine, config_file, config, log: changeable })?;
    if let Some((_, driver)) = &mut docker {
        driver.make_parents(&mut service);
    }
    service.recover(&found, &places);
    drop(places);
    service.apply_config(before)?;
    if let Some((_, driver)) = &mut docker {
        driver.reconcile(&mut service);
    }
    Ok(Prepared { service: Arc::new(Mutex::new(service)), socket, log, admins, docker })
}

/// Docker's socket and networks, if Docker is to be served: as was typed, or the configuration says.
fn open_docker(args: &DaemonArgs, config: &Config) -> Result<Option<(socket::Socket, Driver)>> {
    let configured = config.docker.as_ref();
    let path = args.docker.clone().or_else(|| {
        let socket = configured?.socket.as_deref();
        Some(socket.unwrap_or(docker::DEFAULT_SOCKET).into())
    });
    let Some(path) = path else {
        ensure!(args.docker_state.is_none(), "--docker-state is of no use without --docker");
        return Ok(None);
    };
    let state = || configured?.state.as_ref().map(PathBuf::from);
    let state = args.docker_state.clone().or_else(state);
    let driver = Driver::open(&state.unwrap_or_else(|| docker::DEFAULT_STATE.into()))?;
    let socket = socket::Socket::bind(&path, None, "give this one --docker=PATH of its own")?;
    Ok(Some((socket, driver)))
}

/// Serves until a signal ends it.
async fn serve(prepared: Prepared, ready: impl FnOnce()) -> Result<()> {
    let Prepared { service, socket, log, admins, docker } = prepared;
    let (end, interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    let hangup = caught(SignalKind::hangup())?;
    let engine = lock_service(&service).engine();
    let watched = Arc::clone(&engine);
    let backend = ServerOptions {
        service: Arc::clone(&service),
        log,
        admins,
        alive: Box::new(move || answers(&engine)),
    };
    let listener = UnixListener::from_std(socket.listener()?)?;
    let (mut plugin, mut sweeps, mut plugin_socket) = (None, None, None);
    if let Some((socket, driver)) = docker {
        let app = docker::App::new(Arc::clone(&service), driver);
        sweeps = Some(tokio::spawn(docker::sweep(app.clone())));
        tracing::info!("Docker's driver on {}", socket.path().display());
        plugin = Some((UnixListener::from_std(socket.listener()?)?, docker::router(app)));
        // Its file ends with it.
        plugin_socket = Some(socket);
    }
    let (parents, links) = lock_service(&service).count();
    tracing::info!("ready on {}: {parents} parents, {links} links", socket.path().display());
    ready();
    systemd::ready(&service);
    let followed =
        tokio::spawn(systemd::keep_informed(Arc::clone(&service), move || answers(&watched)));
    let reloads = tokio::spawn(reload(hangup, Arc::clone(&service)));
    http::serve(listener, backend, plugin, ended(end, interrupt)).await;
    systemd::stopping();
    tracing::info!("ending");
    followed.abort();
    reloads.abort();
    if let Some(sweeps) = sweeps {
        sweeps.abort();
    }
    drop(plugin_socket);
    Ok(())
}

/// The configuration and its file. Without one where nobody asked for one there is nothing to say.
fn load(file: Option<&Path>) -> Result<(PathBuf, Config)> {
    let path = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    if file.is_none() && !path.exists() {
        return Ok((path.to_owned(), Config::default()));
    }
    let parsed = Config::load(&path.display().to_string(), &cpus::allowed())?;
    parsed.warnings.lines().for_each(|line| tracing::warn!("{line}"));
    Ok((path.to_owned(), parsed.config))
}

/// What a former daemon has applied last. Where it cannot be read, what runs is taken for it.
fn applied(found: &SavedState) -> Config {
    let text = found.config.as_deref().unwrap_or_default();
    let parsed = Config::parse("the state", text, &cpus::allowed());
    parsed.map(|parsed| parsed.config).unwrap_or_default()
}

/// Where to listen: what was typed, the environment's, the configuration's, the usual place.
fn path(typed: Option<&Path>, config: &DaemonConfig) -> PathBuf {
    let configured = config.socket.as_ref().map(PathBuf::from);
    match api::socket_path(typed) {
        path if typed.is_none() && path == Path::new(api::DEFAULT_SOCKET) => {
            configured.unwrap_or(path)
        }
        path => path,
    }
}

/// Whether the engine's control thread does what it is asked.
fn answers(engine: &Engine) -> bool {
    // No link has this number; the answer is that there is none.
    !matches!(engine.sub(SubId(u64::MAX)), Err(umacvlan_engine::Error::Stopped))
}

fn caught(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot catch signals")
}

async fn ended(mut end: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Reads the configuration again with each signal.
async fn reload(mut hangup: Signal, service: Shared) {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        let asked = Arc::clone(&service);
        let read = move || {
            match lock_service(&asked).reload() {
                Ok(lines) => tracing::info!("configuration read again, {} changes", lines.len()),
                Err(problem) => tracing::error!("configuration not applied: {problem}"),
            }
            systemd::ready(&asked);
        };
        if let Err(error) = tokio::task::spawn_blocking(read).await {
            tracing::error!("configuration not applied: {error}");
        }
    }
}
