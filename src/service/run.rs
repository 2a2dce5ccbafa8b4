//! The service from its start to its end: networks, listener, signals, and the configuration read again.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use log::{error, info, warn};

use super::network::{Network, StartError};
use super::notify::Notifier;
use super::signals::{Request, Signals};
use super::sockets;
use super::status;
use super::watchdog::{Heart, Watchdog};
use crate::config::{self, Config, ConfigErrors, LoginConfig, OwnKey, Subnet, login};
use crate::journal::message_id;
use crate::mesh::id::NetworkId;
use crate::server::{
    InheritedSockets, Limits, ListenError, Listener, ListenerHandle, Routes, ServedInstance,
};
use crate::store::StateError;
use crate::store::clock::Clock;

/// How often the status line follows the snapshot.
const LOOK: Duration = Duration::from_millis(500);

/// How long the first reports may take.
const FIRST_REPORTS: Duration = Duration::from_secs(10);

/// When stopping is given up: systemd and users wait for five seconds.
const STOP_BY: Duration = Duration::from_millis(4_800);

/// Exit status of a process that a panic or a stop without end has ended (`EX_SOFTWARE` of sysexits.h).
const EX_SOFTWARE: i32 = 70;

/// What the service is started with.
#[derive(Debug)]
pub struct Options {
    /// The directory with nodeconf.yml, or that file.
    pub config: PathBuf,
    /// Where state lies.
    pub state_dir: PathBuf,
    /// Where systemd put credentials.
    pub credentials_dir: Option<PathBuf>,
    /// Whether the end of standard input ends the service.
    pub exit_with_stdin: bool,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(ConfigErrors),
    /// What the service manager handed over is of no use.
    #[error("{0}; see distomon@.socket")]
    Handed(io::Error),
    /// An address cannot be listened on.
    #[error("{error}; {}", listen_advice(error))]
    Listen {
        /// The cause, which names the address.
        #[source]
        error: ListenError,
    },
    /// The state directory cannot be used.
    #[error("{0}")]
    State(StateError),
    /// Threads or signals.
    #[error("{0}")]
    System(io::Error),
}

/// What to do about an address that cannot be listened on.
fn listen_advice(error: &ListenError) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 are for root: let systemd listen, see distomon@.socket, or change listen: in nodeconf.yml"
    } else {
        "another program (another instance?) may listen there, see \"ss -ltnp\"; or change listen: in nodeconf.yml"
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

/// Runs the service until it is told to stop.
pub fn run(options: &Options) -> Result<(), RunError> {
    let start = Instant::now();
    end_on_panic();
    let inherited = sockets::inherited().map_err(RunError::Handed)?;
    let notifier = Arc::new(Notifier::from_env());
    if !inherited.from_previous.is_empty() {
        notifier.take_kept();
    }
    let mut signals = Signals::listen().map_err(RunError::System)?;
    if options.exit_with_stdin {
        signals.stop_with_stdin().map_err(RunError::System)?;
    }
    let mut running = Running::start(options, notifier, inherited)?;
    running.wait_for_reports();
    running.notifier.ready(&status::line(&running.routes.instance()));
    info!(MESSAGE_ID = message_id::SERVING; "serving after {} ms", start.elapsed().as_millis());
    running.turn(&signals);
    running.stop();
    Ok(())
}

/// A panic in a request is that request's; a panic elsewhere leaves a part that nobody would miss, so it
/// ends the process, and the service manager starts it again.
fn end_on_panic() {
    let log = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log(panic);
        if is_missed(std::thread::current().name()) {
            error!(MESSAGE_ID = message_id::THREAD_PANICKED; "ending: a part of this process is gone");
            std::process::exit(EX_SOFTWARE);
        }
    }));
}

/// Whether the thread of that name does more than one request or one call.
fn is_missed(thread: Option<&str>) -> bool {
    let brief = [crate::server::WORKER_THREAD_PREFIX, crate::probe::THREAD_PREFIX];
    // All of ours that matter have names. minreq makes each call in a thread without one, and what a peer
    // answers, whoever that is, must not end the process.
    thread.is_some_and(|name| !brief.iter().any(|prefix| name.starts_with(prefix)))
}

/// The parts of the service. Field order is the order of their end.
struct Running<'o> {
    options: &'o Options,
    clock: Clock,
    notifier: Arc<Notifier>,
    _watchdog: Option<Watchdog>,
    listener: ListenerHandle,
    routes: Arc<Routes>,
    networks: BTreeMap<NetworkId, Network>,
    listen: Vec<SocketAddr>,
    trusted_proxies: Vec<Subnet>,
}

impl<'o> Running<'o> {
    fn start(
        options: &'o Options,
        notifier: Arc<Notifier>,
        inherited: InheritedSockets,
    ) -> Result<Self, RunError> {
        let clock = Clock::start();
        let (mut config, keys) = prepare(options).map_err(RunError::Config)?;
        let limits = Limits { trusted_proxies: config.trusted_proxies.clone(), ..Limits::default() };
        // Before the state is touched: a second process on the same port must change nothing.
        let listener = Listener::bind_with_inherited(inherited, &config.listen, limits);
        let listener = listener.map_err(|error| RunError::Listen { error })?;
        let unit_sockets = listener.unit_sockets();
        make_password(&mut config, options).map_err(RunError::State)?;
        let mut networks = BTreeMap::new();
        for key in &keys {
            let network = Network::start(key, &options.state_dir, clock)?;
            networks.insert(key.membership.network_id().clone(), network);
        }
        let routes = Arc::new(Routes::new(instance(&config, &networks)));
        let listener = listener.start(routes.clone()).map_err(RunError::System)?;
        let told = |(index, address)| {
            let origin = if index < unit_sockets { " (a socket from systemd)" } else { "" };
            format!("http://{address}{origin}")
        };
        let addresses: Vec<_> = listener.addresses().iter().enumerate().map(told).collect();
        info!("listening on {}", addresses.join(", "));
        let heartbeat = listener.heartbeat();
        let hearts = vec![Heart::new("listener", move || heartbeat.last_ms()), collectors(&routes)];
        let watchdog = Watchdog::start(notifier.clone(), hearts).map_err(RunError::System)?;
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

    /// Waits until every collector has made its node's first report: then requests are answered in full.
    fn wait_for_reports(&self) {
        let by = Instant::now() + FIRST_REPORTS;
        let is_mute = |network: &Network| network.node().snapshot().own_report().is_none();
        while self.networks.values().any(is_mute) && Instant::now() < by {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Follows the snapshot and the signals until one of them says to stop.
    fn turn(&mut self, signals: &Signals) {
        loop {
            match signals.requests().recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {
                    self.notifier.status(&status::line(&self.routes.instance()));
                    self.routes.flush_suppressed();
                }
                Ok(Request::Reload) => self.reload(),
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads the configuration again. One with mistakes changes nothing, and all of them are told.
    fn reload(&mut self) {
        self.notifier.reloading();
        match prepare(self.options) {
            Ok((mut config, keys)) => {
                if let Err(error) = make_password(&mut config, self.options) {
                    error!("nobody can log in: {error}");
                }
                self.apply(&config, &keys);
            }
            Err(ConfigErrors(errors)) => {
                for error in &errors {
                    error!(MESSAGE_ID = message_id::CONFIG_ERROR; "{error}");
                }
                error!(
                    MESSAGE_ID = message_id::RELOAD_REJECTED;
                    "the configuration was read again and has {} mistakes: going on with the old one",
                    errors.len()
                );
            }
        }
        self.notifier.ready(&status::line(&self.routes.instance()));
    }

    fn apply(&mut self, config: &Config, keys: &[OwnKey]) {
        for (key, changed) in [
            ("listen", config.listen != self.listen),
            ("trusted_proxies", config.trusted_proxies != self.trusted_proxies),
        ] {
            if changed {
                warn!(
                    MESSAGE_ID = message_id::RESTART_REQUIRED;
                    "{key}: has changed, which takes a restart: systemctl restart"
                );
            }
        }
        let stays = |network: &Network| keys.iter().any(|key| network.is_of(key));
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.networks).into_iter().partition(|(_, network)| stays(network));
        self.networks = stay;
        for network in go.values() {
            network.leave();
        }
        // From here on nobody asks those that go.
        self.routes.replace(instance(config, &self.networks));
        for (id, network) in go {
            network.join();
            info!(DISTOMON_NETWORK = id.as_str(); "{id}: stopped, as the configuration says");
        }
        let mut changed = 0;
        for key in keys {
            let id = key.membership.network_id();
            if let Some(network) = self.networks.get_mut(id) {
                changed += usize::from(network.reconfigure(&key.membership));
                continue;
            }
            match Network::start(key, &self.options.state_dir, self.clock) {
                Ok(network) => {
                    self.networks.insert(id.clone(), network);
                }
                Err(error) => {
                    error!(
                        MESSAGE_ID = message_id::NOT_STARTED, DISTOMON_NETWORK = id.as_str();
                        "{id}: not started: {error}"
                    );
                }
            }
        }
        self.wait_for_reports();
        self.routes.replace(instance(config, &self.networks));
        info!(
            MESSAGE_ID = message_id::RELOADED;
            "the configuration was read again; networks: {}, changed: {changed}",
            self.networks.len()
        );
    }

    /// Tells the others, lets replies finish, writes everything.
    fn stop(self) {
        self.notifier.stopping();
        info!(MESSAGE_ID = message_id::STOPPING; "stopping");
        let clock = std::thread::Builder::new().name("stop".to_owned()).spawn(|| {
            std::thread::sleep(STOP_BY);
            error!("stopping takes too long: ending at once");
            std::process::exit(EX_SOFTWARE);
        });
        if let Err(error) = clock {
            warn!("starting a thread: {error}; nothing bounds how long stopping takes");
        }
        for network in self.networks.values() {
            network.leave();
        }
        // The listener serves on meanwhile: peers that answer late find this node still there.
        for network in self.networks.into_values() {
            network.join();
        }
        self.notifier.keep(self.listener.retained_sockets());
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

/// Makes the password that `config` leaves to this instance, if there is none yet. It is never told, only where
/// to find it.
fn make_password(config: &mut Config, options: &Options) -> Result<(), StateError> {
    if !matches!(config.login, LoginConfig::Generated(None)) {
        return Ok(());
    }
    let path = login::generated_path(&options.state_dir);
    let made = login::load_or_generate(&options.state_dir);
    let made =
        made.map_err(|error| StateError::Io { action: "writing the login password to", path, error })?;
    config.login = LoginConfig::Generated(Some(made));
    let installed =
        config.dir.strip_prefix("/etc/distomon").ok().filter(|name| name.components().count() == 1);
    let of = installed
        .map_or_else(|| format!("--config {}", config.dir.display()), |name| name.display().to_string());
    info!(
        MESSAGE_ID = message_id::PASSWORD_GENERATED;
        "a login password was made, since nodeconf.yml has none; this shows it to root: distomon password {of}"
    );
    Ok(())
}

/// What the routes serve.
fn instance(config: &Config, networks: &BTreeMap<NetworkId, Network>) -> ServedInstance {
    let own_urls = config.networks.iter().filter_map(|network| network.membership.own().url.as_deref());
    ServedInstance {
        name: instance_name(config),
        nodes: networks.iter().map(|(id, network)| (id.clone(), network.node().clone())).collect(),
        login: config.login.password().cloned(),
        secure: own_urls.clone().next().is_some() && own_urls.clone().all(|url| url.starts_with("https://")),
    }
}

/// The name of the configuration's directory, if it can stand in a cookie's name.
fn instance_name(config: &Config) -> String {
    let dir = config.dir.canonicalize().unwrap_or_else(|_| config.dir.clone());
    let name = dir.file_name().and_then(|name| name.to_str()).filter(|name| crate::mesh::id::is_name(name));
    name.unwrap_or("network").to_owned()
}

/// Beats with the slowest of all collectors.
fn collectors(routes: &Arc<Routes>) -> Heart {
    let routes = routes.clone();
    Heart::new("collector", move || {
        let instance = routes.instance();
        instance
            .nodes
            .values()
            .map(|node| node.last_tick_ms())
            .min()
            .unwrap_or_else(crate::server::heartbeat::monotonic_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::is_missed;

    #[test]
    fn whose_panic_ends_the_process() {
        for (thread, expected) in [
            (Some("main"), true),
            (Some("collect-peer-net"), true),
            (Some("keep-http-net"), true),
            (Some("listener"), true),
            (Some("http-12"), false),
            (Some("peer-node-1"), false),
            (None, false),
        ] {
            assert_eq!(is_missed(thread), expected, "{thread:?}");
        }
    }
}
