//! Values of `MESSAGE_ID`, one for each kind of journal line.
//!
//! `journalctl MESSAGE_ID=…` selects all lines of a kind, and `journalctl -x` explains them from
//! `systemd/distomon.catalog`, which has an entry for each. An id never changes its meaning and is never reused.

/// Verdict: up.
pub const UP: &str = "4a9bdcf68e9009382f570a2ce5087001";
/// Verdict: degraded.
pub const DEGRADED: &str = "4a9bdcf68e9009382f570a2ce5087002";
/// Verdict: down.
pub const DOWN: &str = "4a9bdcf68e9009382f570a2ce5087003";
/// Verdict: stopped.
pub const STOPPED: &str = "4a9bdcf68e9009382f570a2ce5087004";
/// Verdict: unknown.
pub const UNKNOWN: &str = "4a9bdcf68e9009382f570a2ce5087005";
/// Verdict: never seen.
pub const NEVER_SEEN: &str = "4a9bdcf68e9009382f570a2ce5087006";
/// Verdict: conflict.
pub const CONFLICT: &str = "4a9bdcf68e9009382f570a2ce5087007";

/// The status of a peer, as this node's own probes find it, has changed.
pub const PEER_STATUS: &str = "4a9bdcf68e9009382f570a2ce5087011";
/// A node signed two different reports with the same number.
pub const EQUIVOCATION: &str = "4a9bdcf68e9009382f570a2ce5087012";
/// A peer holds a newer report of this node than the node's own state.
pub const SUPERSEDED: &str = "4a9bdcf68e9009382f570a2ce5087013";
/// Another process signs with this node's key.
pub const DUPLICATE_KEY: &str = "4a9bdcf68e9009382f570a2ce5087014";
/// This process resumed after a suspension.
pub const RESUMED: &str = "4a9bdcf68e9009382f570a2ce5087015";
/// This node finds most of its peers offline.
pub const ISOLATED: &str = "4a9bdcf68e9009382f570a2ce5087016";
/// This node reaches most of its peers again.
pub const ISOLATION_CLEARED: &str = "4a9bdcf68e9009382f570a2ce5087017";
/// The configurations of this node and of others differ.
pub const CONFIG_MISMATCH: &str = "4a9bdcf68e9009382f570a2ce5087018";
/// The configurations of all nodes agree again.
pub const CONFIG_MATCH: &str = "4a9bdcf68e9009382f570a2ce5087019";
/// The saved epoch of this node is damaged; the node recovers one from its peers.
pub const EPOCH_LOST: &str = "4a9bdcf68e9009382f570a2ce508701a";
/// This node has recovered its epoch and publishes again.
pub const EPOCH_RECOVERED: &str = "4a9bdcf68e9009382f570a2ce508701b";
/// No epoch is left for this node's key.
pub const NO_EPOCH_LEFT: &str = "4a9bdcf68e9009382f570a2ce508701c";

/// This node is overloaded.
pub const OVERLOADED: &str = "4a9bdcf68e9009382f570a2ce508701d";
/// This node is no longer overloaded.
pub const OVERLOAD_ENDED: &str = "4a9bdcf68e9009382f570a2ce508701e";

/// A node of this instance has started.
pub const NODE_STARTED: &str = "4a9bdcf68e9009382f570a2ce5087021";
/// The service is ready for requests.
pub const SERVING: &str = "4a9bdcf68e9009382f570a2ce5087022";
/// The service is stopping.
pub const STOPPING: &str = "4a9bdcf68e9009382f570a2ce5087023";
/// The configuration was reloaded.
pub const RELOADED: &str = "4a9bdcf68e9009382f570a2ce5087024";
/// The reloaded configuration is invalid and was rejected.
pub const RELOAD_REJECTED: &str = "4a9bdcf68e9009382f570a2ce5087025";
/// The configuration contains an error.
pub const CONFIG_ERROR: &str = "4a9bdcf68e9009382f570a2ce5087026";
/// The configuration is valid, but may not do what is intended.
pub const CONFIG_WARNING: &str = "4a9bdcf68e9009382f570a2ce5087027";
/// A changed key of the configuration requires a restart.
pub const RESTART_REQUIRED: &str = "4a9bdcf68e9009382f570a2ce5087028";
/// A key pair was generated.
pub const KEY_GENERATED: &str = "4a9bdcf68e9009382f570a2ce5087029";
/// A login password was generated.
pub const PASSWORD_GENERATED: &str = "4a9bdcf68e9009382f570a2ce508702a";
/// The service or one of its nodes cannot start.
pub const NOT_STARTED: &str = "4a9bdcf68e9009382f570a2ce508702b";

/// The state cannot be written.
pub const STATE_WRITE_FAILED: &str = "4a9bdcf68e9009382f570a2ce5087031";
/// A thread is stuck.
pub const THREAD_STUCK: &str = "4a9bdcf68e9009382f570a2ce5087032";
/// A thread panicked.
pub const THREAD_PANICKED: &str = "4a9bdcf68e9009382f570a2ce5087033";
/// A request or a report was rejected.
pub const REJECTED: &str = "4a9bdcf68e9009382f570a2ce5087034";
/// Reports were dropped because of a limit.
pub const DROPPED: &str = "4a9bdcf68e9009382f570a2ce5087035";
/// Connections were refused or closed because of a limit.
pub const CONNECTION_LIMIT: &str = "4a9bdcf68e9009382f570a2ce5087036";
/// A user logged in.
pub const LOGGED_IN: &str = "4a9bdcf68e9009382f570a2ce5087037";
/// A login failed.
pub const LOGIN_FAILED: &str = "4a9bdcf68e9009382f570a2ce5087038";
/// The dashboard is used over plain http from another host.
pub const PLAIN_HTTP: &str = "4a9bdcf68e9009382f570a2ce5087039";
