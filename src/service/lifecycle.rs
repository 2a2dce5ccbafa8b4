//! The lifecycle of the service: start, reload and stop of its networks and its listener.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use log::{error, info, warn};

use super::network::{RunningNetwork, StartError};
use super::notify::Notifier;
use super::signals::{Control, Signals};
use super::socket_activation::inherited_sockets;
use super::status_line::status_line;
use super::watchdog::{Watchdog, WatchedLoop};
use crate::config::{self, Config, ConfigErrors, LoginConfig, OwnKey, login};
use crate::journal::message_id;
use crate::mesh::id::NetworkId;
use crate::server::auth::Auth;
use crate::server::{
    InheritedSockets, Limits, ListenError, Listener, ListenerHandle, Routes, ServedInstance,
};
use crate::store::StateError;
use crate::store::clock::Clock;
use crate::subnet::Subnet;
use crate::threads;

/// The interval at which the status line is updated.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait for the first own report of each network.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after which the process exits although the stop is incomplete, within the 5 s that the documentation
/// promises.
const STOP_TIMEOUT: Duration = Duration::from_millis(4_800);

/// Exit status after a panic or a stop that took too long (`EX_SOFTWARE` of sysexits.h).
const EX_SOFTWARE: i32 = 70;

/// Parameters of the service.
#[derive(Debug)]
pub struct Options {
    /// The directory of nodeconf.yml, or that file.
    pub config: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The directory of credentials from systemd.
    pub credentials_dir: Option<PathBuf>,
    /// Whether the end of standard input stops the service.
    pub exit_with_stdin: bool,
}

/// Error of a service that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(ConfigErrors),
    /// A socket from the service manager cannot be used.
    #[error("{0}; see distomon@.socket")]
    SocketActivation(#[source] io::Error),
    /// An address cannot be listened on.
    #[error("{error}; {}", listen_advice(error))]
    Listen {
        /// The cause, which names the address.
        #[source]
        error: ListenError,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(StateError),
    /// A thread or a signal handler cannot be started.
    #[error(transparent)]
    System(io::Error),
}

/// Returns the remedy for an address that cannot be listened on.
fn listen_advice(error: &ListenError) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 require root: use distomon@.socket, or change `listen` in nodeconf.yml"
    } else {
        "another program or instance may use it: check \"ss -ltnp\", or change `listen` in nodeconf.yml"
    }
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::State(error) => Self::State(error),
            StartError::Thread(error) => Self::System(error),
        }
    }
}

/// Runs the service until a signal stops it.
pub fn run(options: &Options) -> Result<(), RunError> {
    let start = Instant::now();
    exit_on_panic();
    let inherited = inherited_sockets().map_err(RunError::SocketActivation)?;
    let notifier = Arc::new(Notifier::from_env());
    if !inherited.from_previous.is_empty() {
        notifier.remove_stored_sockets();
    }
    let mut signals = Signals::listen().map_err(RunError::System)?;
    if options.exit_with_stdin {
        signals.stop_at_end_of_stdin().map_err(RunError::System)?;
    }
    let mut service = Service::start(options, notifier, inherited)?;
    service.wait_for_first_reports();
    service.notifier.ready(&status_line(&service.routes.instance()));
    info!(MESSAGE_ID = message_id::SERVING; "ready after {} ms", start.elapsed().as_millis());
    service.handle_signals(&signals);
    service.stop();
    Ok(())
}

/// Exits on a panic of an essential thread, so that the service manager restarts the service.
fn exit_on_panic() {
    threads::mark_essential();
    threads::exit_on_panic(|| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        error!(MESSAGE_ID = message_id::THREAD_PANICKED; "essential thread {name} panicked: exiting");
        std::process::exit(EX_SOFTWARE);
    });
}

/// The running service. Its parts end in the order of the fields.
struct Service<'o> {
    options: &'o Options,
    clock: Clock,
    notifier: Arc<Notifier>,
    _watchdog: Option<Watchdog>,
    listener: ListenerHandle,
    routes: Arc<Routes>,
    networks: BTreeMap<NetworkId, RunningNetwork>,
    listen: Vec<SocketAddr>,
    trusted_proxies: Vec<Subnet>,
}

impl<'o> Service<'o> {
    fn start(
        options: &'o Options,
        notifier: Arc<Notifier>,
        inherited: InheritedSockets,
    ) -> Result<Self, RunError> {
        let clock = Clock::start();
        let (mut config, keys) = prepare(options).map_err(RunError::Config)?;
        let limits = Limits { trusted_proxies: config.trusted_proxies.clone(), ..Limits::default() };
        // Before any change of the state: a second process with the same port must not modify it.
        let listener = Listener::bind_with_inherited(inherited, &config.listen, limits);
        let listener = listener.map_err(|error| RunError::Listen { error })?;
        let unit_sockets = listener.unit_sockets();
        generate_password(&mut config, options).map_err(RunError::State)?;
        let mut networks = BTreeMap::new();
        for key in &keys {
            let network = RunningNetwork::start(key, &options.state_dir, clock)?;
            networks.insert(key.membership.network_id().clone(), network);
        }
        let routes = Arc::new(Routes::new(instance(&config, &networks), Auth::restore(&options.state_dir)));
        let listener = listener.start(routes.clone()).map_err(RunError::System)?;
        let describe = |(index, address)| {
            let origin = if index < unit_sockets { " (socket from systemd)" } else { "" };
            format!("http://{address}{origin}")
        };
        let addresses: Vec<_> = listener.addresses().iter().enumerate().map(describe).collect();
        info!("listening on {}", addresses.join(", "));
        let heartbeat = listener.heartbeat();
        let loops =
            vec![WatchedLoop::new("listener", move || heartbeat.last_ms()), slowest_event_loop(&routes)];
        let watchdog = Watchdog::start(notifier.clone(), loops).map_err(RunError::System)?;
        let Config { listen, trusted_proxies, .. } = config;
        Ok(Self {
            options,
            clock,
            notifier,
            _watchdog: watchdog,
            listener,
            routes,
            networks,
            listen,
            trusted_proxies,
        })
    }

    /// Waits until each node has published its first report, which replies contain, or for [`FIRST_REPORT_TIMEOUT`].
    /// Nodes that recover their epoch publish later.
    fn wait_for_first_reports(&self) {
        let deadline = Instant::now() + FIRST_REPORT_TIMEOUT;
        let lacks_report = |network: &RunningNetwork| {
            let snapshot = network.node().snapshot();
            snapshot.own_report().is_none() && !snapshot.recovers_epoch()
        };
        while self.networks.values().any(lacks_report) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Handles signals and updates the status line until a signal to stop.
    fn handle_signals(&mut self, signals: &Signals) {
        loop {
            match signals.controls().recv_timeout(STATUS_INTERVAL) {
                Err(RecvTimeoutError::Timeout) => {
                    self.notifier.status(&status_line(&self.routes.instance()));
                    self.routes.flush_suppressed();
                }
                Ok(Control::Reload) => self.reload(),
                Ok(Control::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reloads the configuration. An invalid one is rejected, and all its errors are logged.
    fn reload(&mut self) {
        self.notifier.reloading();
        match prepare(self.options) {
            Ok((mut config, keys)) => {
                if let Err(error) = generate_password(&mut config, self.options) {
                    error!("login disabled: {error}");
                }
                self.apply(&config, &keys);
            }
            Err(ConfigErrors(errors)) => {
                for error in &errors {
                    error!(MESSAGE_ID = message_id::CONFIG_ERROR; "{error}");
                }
                error!(
                    MESSAGE_ID = message_id::RELOAD_REJECTED;
                    "configuration rejected: {} errors, listed above; continuing with the previous configuration",
                    errors.len()
                );
            }
        }
        self.notifier.ready(&status_line(&self.routes.instance()));
    }

    fn apply(&mut self, config: &Config, keys: &[OwnKey]) {
        for (key, changed) in [
            ("listen", config.listen != self.listen),
            ("trusted_proxies", config.trusted_proxies != self.trusted_proxies),
        ] {
            if changed {
                warn!(
                    MESSAGE_ID = message_id::RESTART_REQUIRED;
                    "`{key}` has changed: restart the service to apply it"
                );
            }
        }
        let remains = |network: &RunningNetwork| keys.iter().any(|key| network.has_key(key));
        let (remaining, removed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.networks).into_iter().partition(|(_, network)| remains(network));
        self.networks = remaining;
        for network in removed.values() {
            network.leave();
        }
        // The routes no longer serve the removed networks.
        self.routes.replace(instance(config, &self.networks));
        for (id, network) in removed {
            network.join();
            info!(DISTOMON_NETWORK = id.as_str(); "{id}: stopped; the configuration no longer has this node or its key");
        }
        let mut changed = 0;
        for key in keys {
            let id = key.membership.network_id();
            if let Some(network) = self.networks.get_mut(id) {
                changed += usize::from(network.reconfigure(&key.membership));
                continue;
            }
            match RunningNetwork::start(key, &self.options.state_dir, self.clock) {
                Ok(network) => {
                    self.networks.insert(id.clone(), network);
                }
                Err(error) => {
                    error!(
                        MESSAGE_ID = message_id::NOT_STARTED, DISTOMON_NETWORK = id.as_str();
                        "{id}: cannot start: {error}"
                    );
                }
            }
        }
        self.wait_for_first_reports();
        self.routes.replace(instance(config, &self.networks));
        info!(
            MESSAGE_ID = message_id::RELOADED;
            "configuration reloaded; networks: {}, changed: {changed}",
            self.networks.len()
        );
    }

    /// Announces the stop to the peers, finishes pending replies and writes the state.
    fn stop(self) {
        self.notifier.stopping();
        info!(MESSAGE_ID = message_id::STOPPING; "stopping");
        let timer = threads::spawn_essential("stop", || {
            std::thread::sleep(STOP_TIMEOUT);
            error!("stop incomplete after {} ms: exiting", STOP_TIMEOUT.as_millis());
            std::process::exit(EX_SOFTWARE);
        });
        if let Err(error) = timer {
            warn!("starting the timer thread: {error}; stopping without a timeout");
        }
        for network in self.networks.values() {
            network.leave();
        }
        // The listener still serves requests, so that peers receive the last report.
        for network in self.networks.into_values() {
            network.join();
        }
        self.notifier.store_sockets(self.listener.retained_sockets());
        self.listener.stop();
        info!("stopped");
    }
}

fn prepare(options: &Options) -> Result<(Config, Vec<OwnKey>), ConfigErrors> {
    let prepared = config::prepare(&options.config, options.credentials_dir.as_deref(), &options.state_dir)?;
    for warning in &prepared.0.warnings {
        warn!(MESSAGE_ID = message_id::CONFIG_WARNING; "{warning}");
    }
    Ok(prepared)
}

/// Generates the login password if `config` requires it and no password exists yet. The journal shows the command that
/// prints it, not the password.
fn generate_password(config: &mut Config, options: &Options) -> Result<(), StateError> {
    if !matches!(config.login, LoginConfig::Generated(None)) {
        return Ok(());
    }
    let path = login::generated_path(&options.state_dir);
    let generated = login::load_or_generate(&options.state_dir);
    let generated =
        generated.map_err(|error| StateError::Io { action: "writing the login password to", path, error })?;
    config.login = LoginConfig::Generated(Some(generated));
    let installed =
        config.dir.strip_prefix("/etc/distomon").ok().filter(|name| name.components().count() == 1);
    let instance = installed
        .map_or_else(|| format!("--config {}", config.dir.display()), |name| name.display().to_string());
    info!(
        MESSAGE_ID = message_id::PASSWORD_GENERATED;
        "generated a login password because nodeconf.yml has none; to show it, run as root: distomon password {instance}"
    );
    Ok(())
}

/// Returns what the routes serve.
fn instance(config: &Config, networks: &BTreeMap<NetworkId, RunningNetwork>) -> ServedInstance {
    let own_urls = config.networks.iter().filter_map(|network| network.membership.own().url.as_deref());
    ServedInstance {
        name: instance_name(config),
        nodes: networks.iter().map(|(id, network)| (id.clone(), network.node().clone())).collect(),
        login: config.login.password().cloned(),
        secure: own_urls.clone().next().is_some() && own_urls.clone().all(|url| url.starts_with("https://")),
    }
}

/// Returns the name of the configuration directory, or `network` if that cannot be part of a cookie's name.
fn instance_name(config: &Config) -> String {
    let dir = config.dir.canonicalize().unwrap_or_else(|_| config.dir.clone());
    let name = dir.file_name().and_then(|name| name.to_str()).filter(|name| crate::mesh::id::is_name(name));
    name.unwrap_or("network").to_owned()
}

/// Watches the event loop whose last tick is the oldest.
fn slowest_event_loop(routes: &Arc<Routes>) -> WatchedLoop {
    let routes = routes.clone();
    WatchedLoop::new("event loop", move || {
        let instance = routes.instance();
        instance
            .nodes
            .values()
            .map(|node| node.last_tick_ms())
            .min()
            .unwrap_or_else(crate::server::heartbeat::monotonic_ms)
    })
}
