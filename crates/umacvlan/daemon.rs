//! `umacvlan daemon`: puts the daemon together from its parts and runs it until a signal.
//!
//! Start-up ([`prepare`]) does first what can fail without consequences:
//!
//! 1. [`Log`], and the configuration file ([`load`]);
//! 2. [`Store`]: the state directory, locked, with the records of a former daemon;
//! 3. [`Socket`]: the daemon's socket, and Docker's ([`open_docker`]);
//! 4. [`Keeper`]: the process that holds the TAPs of a former daemon, or a new one;
//! 5. [`sandbox`]: privileges are dropped, those that only the engine needs after the next step;
//! 6. [`Service`]: the engine starts, links of a former daemon are re-adopted, the configuration is
//!    applied; around that, Docker's [`Driver`] makes its parents and removes what was left behind.
//!
//! Then [`serve`] runs the event loop: the HTTP server with the driver's routes beside it,
//! systemd's notifications, and a reload for each SIGHUP.

mod background;
mod on_demand;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use nix::unistd::dup2_stderr;
use tokio::net::UnixListener;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use umacvlan_api as api;
use umacvlan_config::{Config, DEFAULT_FILE, DaemonConfig, OnExit};
use umacvlan_daemon::http::{self, ServerOptions};
use umacvlan_daemon::keeper::{self, Keeper};
use umacvlan_daemon::log::{self, Destination, Log};
use umacvlan_daemon::service::{self, ServiceOptions};
use umacvlan_daemon::socket::{self, Socket};
use umacvlan_daemon::store::Store;
use umacvlan_daemon::{Service, Shared, lock_service, sandbox, systemd};
use umacvlan_docker::{self as docker, Driver};
use umacvlan_engine::engine::{EngineOptions, SubId};
use umacvlan_engine::{Engine, cpus};
use umacvlan_sys::netns::{self, Search, search};
use umacvlan_sys::process::{inherited_descriptor, raise_descriptor_limit};

/// The state directory unless another one is configured.
const DEFAULT_STATE: &str = "/run/umacvlan/state";

/// The directory of programs in the kernel, unless another one is given.
pub(crate) const DEFAULT_BPF_DIR: &str = "/sys/fs/bpf/umacvlan";

/// The directory of the sockets of links whose far end is a program, beside the daemon's socket.
const PORTS: &str = "ports";

/// Serve links until SIGTERM or SIGINT, and clients over a socket.
///
/// Links outlive the daemon: when it ends they stay without carrier, and the next daemon re-adopts
/// them, wherever they have been moved. SIGHUP reloads the configuration.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The configuration file [default: /etc/umacvlan/umacvlan.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The directory of the state files [default: /run/umacvlan/state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Be Docker's network driver, on the socket where dockerd looks for it
    /// [default: /run/docker/plugins/umacvlan.sock]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = docker::DEFAULT_SOCKET)]
    docker: Option<PathBuf>,

    /// The directory of Docker's networks, which outlives a boot
    /// [default: /var/lib/umacvlan/docker]
    #[arg(long, value_name = "DIR")]
    docker_state: Option<PathBuf>,

    /// Return when the daemon serves, or has failed; it goes on in a session of its own and logs to
    /// the journal, if there is one
    #[arg(long, conflicts_with = "ready_fd")]
    background: bool,

    /// Be the daemon of a command with `--background`: let go of standard error when it serves
    #[arg(long, hide = true, requires = "ready_fd")]
    detached: bool,

    /// Be the daemon of one namespace for `umacvlan-ip`: without a configuration file, until there was no
    /// link for some seconds or nothing else holds the namespace; the links end with it
    #[arg(long, hide = true, conflicts_with_all = ["config", "docker", "on_exit"])]
    on_demand: bool,

    /// Write "ready" to this open descriptor and close it once the daemon serves
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    ready_fd: Option<i32>,

    /// The directory, on a BPF file system, where the programs of links with port veth outlive the
    /// daemon [default: /sys/fs/bpf/umacvlan]
    #[arg(long, value_name = "DIR")]
    bpf_dir: Option<PathBuf>,

    /// What happens to the links when the daemon ends [default: keep]
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
    /// They stay, without carrier, and the next daemon re-adopts them
    Keep,
    /// They are removed
    Remove,
}

/// The parts of the daemon, ready to serve.
struct Prepared {
    service: Shared,
    socket: Socket,
    log: Log,
    /// The group whose members may change things, beside root.
    admins: Option<u32>,
    /// Docker's socket and driver, if Docker is served.
    docker: Option<(Socket, Driver)>,
}

/// Serves until a signal. `socket` is the path of the command line.
pub(crate) fn run(args: &DaemonArgs, socket: Option<&Path>) -> Result<ExitCode> {
    if args.background {
        return background::start();
    }
    let ready = args.ready_fd.map(inherited_descriptor).transpose();
    let ready = ready.context("--ready-fd: there is no such descriptor open")?;
    let null = || File::options().write(true).open("/dev/null").context("cannot open /dev/null");
    let null = args.detached.then(null).transpose()?;
    let prepared = prepare(args, socket)?;
    sandbox::confine_service()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let service = Arc::clone(&prepared.service);
    let events = service::follow_engine_events(&service)?;
    runtime.block_on(serve(prepared, args.on_demand, || {
        // Without it the caller's standard error stays open, which is no reason to end.
        let _ = null.map(dup2_stderr);
        let written = ready.map(|ready| File::from(ready).write_all(b"ready\n"));
        // The process that started the daemon may have ended.
        let _ = written.unwrap_or(Ok::<(), io::Error>(()));
        service::follow_running_kernel(&service);
    }))?;
    let remove = match args.on_exit {
        Some(exit) => matches!(exit, Exit::Remove),
        None if args.on_demand => true,
        None => lock_service(&service).on_exit() == OnExit::Remove,
    };
    if remove {
        lock_service(&service).remove_all();
    }
    lock_service(&service).release_idle_uplinks();
    if let (true, Some(state)) = (args.on_demand, &args.state) {
        on_demand::remove_files(state);
    }
    // Dropping the last reference to the service stops the engine, which takes the links' carrier
    // away; joining the thread waits for that.
    drop(runtime);
    drop(service);
    // A panic of the thread was printed when it happened.
    let _ = events.join();
    Ok(ExitCode::SUCCESS)
}

/// Start-up, as far as it needs no event loop.
fn prepare(args: &DaemonArgs, socket: Option<&Path>) -> Result<Prepared> {
    let destination = if args.detached { Destination::Both } else { Destination::Stderr };
    let log = Log::start(args.log.as_deref().unwrap_or(log::DEFAULT_FILTER), destination)?;
    let (config_file, config) = match args.on_demand {
        true => (DEFAULT_FILE.into(), Config::default()),
        false => load(args.config.as_deref())?,
    };
    let default = log::DEFAULT_FILTER.to_owned();
    if let (None, Some(filter)) = (&args.log, &config.daemon.log) {
        log.set(filter)?;
    }
    let DaemonConfig { state, group, admin_group, .. } = &config.daemon;
    let state = args.state.clone().or_else(|| state.as_ref().map(PathBuf::from));
    let state = state.unwrap_or_else(|| DEFAULT_STATE.into());
    let (store, saved) = Store::open(&state)?;
    let group = socket::group(args.group.as_ref().or(group.as_ref()))?;
    let admins = socket::group(args.admin_group.as_ref().or(admin_group.as_ref()))?;
    let socket = Socket::open(&path(socket, &config.daemon), group.or(admins))?;
    let mut docker = open_docker(args, &config)?;
    // On failure the present limit stays.
    let _ = raise_descriptor_limit();
    // Before privileges are dropped: the keeper has a user id of its own, and the namespaces of other
    // users' processes are seen.
    let (keeper, kept) = Keeper::open(&state);
    let others = saved.has_other_links(&kept);
    let namespaces = if others { search() } else { Search::default() };
    let worker = sandbox::WorkerSandbox::new()?;
    sandbox::confine_process(others || args.on_demand || keeper::has_pins(&kept))?;
    let bpf_dir = args.bpf_dir.as_deref().unwrap_or_else(|| Path::new(DEFAULT_BPF_DIR));
    let engine = EngineOptions {
        on_worker: Some(Arc::new(move || worker.confine())),
        pins: Some(pins(bpf_dir, &state)?),
    };
    // The configuration does not change a filter of the command line.
    let changeable = args.log.is_none().then(|| (log.clone(), default));
    let ports_dir = socket.path().parent().unwrap_or_else(|| Path::new("/")).join(PORTS);
    let log_options = changeable;
    let options = ServiceOptions {
        store,
        keeper,
        engine,
        ports_dir,
        config_file,
        config,
        log: log_options,
        links_end_with_parent: args.on_demand,
    };
    let mut service = Service::start(options)?;
    if let Some((_, driver)) = &mut docker {
        driver.make_parents(&mut service);
    }
    service.recover(&saved, kept, &namespaces);
    drop(namespaces);
    service.apply_config(&saved)?;
    if let Some((_, driver)) = &mut docker {
        driver.reconcile(&mut service);
    }
    Ok(Prepared { service: Arc::new(Mutex::new(service)), socket, log, admins, docker })
}

/// The directory for the programs of this daemon: that of its namespace and its state directory, which
/// no other daemon uses.
fn pins(dir: &Path, state: &Path) -> Result<PathBuf> {
    let state = fs::metadata(state).context("cannot read the state directory")?;
    // Before Linux 5.14 nothing can be pinned anyway.
    let netns = netns::cookie().unwrap_or_default();
    Ok(dir.join(format!("{netns}-{}", state.ino())))
}

/// Docker's socket and driver, if the command line or the configuration enables them.
fn open_docker(args: &DaemonArgs, config: &Config) -> Result<Option<(Socket, Driver)>> {
    let configured = config.docker.as_ref();
    let path = args.docker.clone().or_else(|| {
        let socket = configured?.socket.as_deref();
        Some(socket.unwrap_or(docker::DEFAULT_SOCKET).into())
    });
    let Some(path) = path else {
        ensure!(args.docker_state.is_none(), "--docker-state needs --docker");
        return Ok(None);
    };
    let state = || configured?.state.as_ref().map(PathBuf::from);
    let state = args.docker_state.clone().or_else(state);
    let driver = Driver::open(&state.unwrap_or_else(|| docker::DEFAULT_STATE.into()))?;
    let socket = Socket::bind(&path, None, "give this one --docker=PATH of its own")?;
    Ok(Some((socket, driver)))
}

/// Runs the event loop until a signal.
async fn serve(prepared: Prepared, on_demand: bool, ready: impl FnOnce()) -> Result<()> {
    let Prepared { service, socket, log, admins, docker } = prepared;
    let (end, interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    let hangup = caught(SignalKind::hangup())?;
    let engine = lock_service(&service).engine();
    let watchdog = Arc::clone(&engine);
    let options = ServerOptions {
        service: Arc::clone(&service),
        log,
        admins,
        alive: Box::new(move || responds(&engine)),
    };
    let listener = UnixListener::from_std(socket.listener()?)?;
    let (mut plugin, mut sweeps, mut plugin_socket) = (None, None, None);
    if let Some((socket, driver)) = docker {
        let app = docker::App::new(Arc::clone(&service), driver);
        sweeps = Some(tokio::spawn(docker::sweep(app.clone())));
        tracing::info!("Docker's driver on {}", socket.path().display());
        plugin = Some((UnixListener::from_std(socket.listener()?)?, docker::router(app)));
        // Kept, because its file is removed when it is dropped.
        plugin_socket = Some(socket);
    }
    let (parents, links) = lock_service(&service).count();
    tracing::info!("ready on {}: {parents} parents, {links} links", socket.path().display());
    ready();
    systemd::ready(&service);
    let notifications =
        tokio::spawn(systemd::keep_informed(Arc::clone(&service), move || responds(&watchdog)));
    let reloads = tokio::spawn(reload(hangup, Arc::clone(&service)));
    let unneeded = on_demand::unneeded(Arc::clone(&service));
    let end = async {
        tokio::select! {
            () = ended(end, interrupt) => {}
            () = unneeded, if on_demand => {}
        }
    };
    http::serve(listener, options, plugin, end).await;
    systemd::stopping();
    tracing::info!("stopping");
    notifications.abort();
    reloads.abort();
    if let Some(sweeps) = sweeps {
        sweeps.abort();
    }
    drop(plugin_socket);
    Ok(())
}

/// The configuration and its path. The default file need not exist.
fn load(file: Option<&Path>) -> Result<(PathBuf, Config)> {
    let path = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    if file.is_none() && !path.exists() {
        return Ok((path.to_owned(), Config::default()));
    }
    let parsed = Config::load(&path.display().to_string(), &cpus::allowed())?;
    parsed.warnings.lines().for_each(|line| tracing::warn!("{line}"));
    Ok((path.to_owned(), parsed.config))
}

/// The path of the socket: from the command line, the environment, the configuration, or the
/// default.
fn path(typed: Option<&Path>, config: &DaemonConfig) -> PathBuf {
    let configured = config.socket.as_ref().map(PathBuf::from);
    match api::socket_path(typed) {
        path if typed.is_none() && path == Path::new(api::DEFAULT_SOCKET) => {
            configured.unwrap_or(path)
        }
        path => path,
    }
}

/// Whether the engine's control thread responds.
fn responds(engine: &Engine) -> bool {
    // No link has this number, so any error but `Stopped` is a response.
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

/// Reloads the configuration for each signal.
async fn reload(mut hangup: Signal, service: Shared) {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        let shared = Arc::clone(&service);
        let reload = move || {
            match lock_service(&shared).reload() {
                Ok(lines) => tracing::info!("configuration reloaded, {} changes", lines.len()),
                Err(problem) => tracing::error!("configuration not applied: {problem}"),
            }
            systemd::ready(&shared);
        };
        if let Err(error) = tokio::task::spawn_blocking(reload).await {
            tracing::error!("configuration not applied: {error}");
        }
    }
}
