//! The kinds of journal lines: what `MESSAGE_ID` says, so that `journalctl MESSAGE_ID=…` finds all of a kind
//! and `journalctl -x` explains it. `systemd/distomon.catalog` has an entry for each.
//!
//! An id never changes its meaning, and none is used again.

/// The verdict on a node: it is up.
pub const UP: &str = "4a9bdcf68e9009382f570a2ce5087001";
/// The verdict: degraded.
pub const DEGRADED: &str = "4a9bdcf68e9009382f570a2ce5087002";
/// The verdict: down.
pub const DOWN: &str = "4a9bdcf68e9009382f570a2ce5087003";
/// The verdict: stopped on purpose.
pub const STOPPED: &str = "4a9bdcf68e9009382f570a2ce5087004";
/// The verdict: nobody can tell.
pub const UNKNOWN: &str = "4a9bdcf68e9009382f570a2ce5087005";
/// The verdict: never seen.
pub const NEVER_SEEN: &str = "4a9bdcf68e9009382f570a2ce5087006";
/// The verdict: its key signs in two places.
pub const CONFLICT: &str = "4a9bdcf68e9009382f570a2ce5087007";

/// What this node finds of a peer has changed.
pub const PEER_STATUS: &str = "4a9bdcf68e9009382f570a2ce5087011";
/// A node signed two different reports with one number.
pub const EQUIVOCATION: &str = "4a9bdcf68e9009382f570a2ce5087012";
/// This node's state was lost or is older than what peers hold.
pub const SUPERSEDED: &str = "4a9bdcf68e9009382f570a2ce5087013";
/// Another process signs with this node's key.
pub const DUPLICATE_KEY: &str = "4a9bdcf68e9009382f570a2ce5087014";
/// This process did not run for a while.
pub const RESUMED: &str = "4a9bdcf68e9009382f570a2ce5087015";
/// This node finds most of its peers offline.
pub const ISOLATED: &str = "4a9bdcf68e9009382f570a2ce5087016";
/// It no longer does.
pub const ISOLATION_CLEARED: &str = "4a9bdcf68e9009382f570a2ce5087017";
/// Others have had another configuration for a while.
pub const CONFIG_MISMATCH: &str = "4a9bdcf68e9009382f570a2ce5087018";
/// All have the same again.
pub const CONFIG_MATCH: &str = "4a9bdcf68e9009382f570a2ce5087019";

/// A node of this instance was started.
pub const NODE_STARTED: &str = "4a9bdcf68e9009382f570a2ce5087021";
/// The service answers requests.
pub const SERVING: &str = "4a9bdcf68e9009382f570a2ce5087022";
/// The service is being stopped.
pub const STOPPING: &str = "4a9bdcf68e9009382f570a2ce5087023";
/// The configuration was read again.
pub const RELOADED: &str = "4a9bdcf68e9009382f570a2ce5087024";
/// The configuration was read again and not taken.
pub const RELOAD_REJECTED: &str = "4a9bdcf68e9009382f570a2ce5087025";
/// A mistake in the configuration.
pub const CONFIG_ERROR: &str = "4a9bdcf68e9009382f570a2ce5087026";
/// Something in the configuration that is allowed and yet surprising.
pub const CONFIG_WARNING: &str = "4a9bdcf68e9009382f570a2ce5087027";
/// A changed key takes a restart.
pub const RESTART_REQUIRED: &str = "4a9bdcf68e9009382f570a2ce5087028";
/// A key was made.
pub const KEY_GENERATED: &str = "4a9bdcf68e9009382f570a2ce5087029";
/// A password was made.
pub const PASSWORD_GENERATED: &str = "4a9bdcf68e9009382f570a2ce508702a";
/// The service cannot start.
pub const NOT_STARTED: &str = "4a9bdcf68e9009382f570a2ce508702b";

/// State cannot be written.
pub const STATE_WRITE_FAILED: &str = "4a9bdcf68e9009382f570a2ce5087031";
/// A part of the service has not turned for a while.
pub const THREAD_STUCK: &str = "4a9bdcf68e9009382f570a2ce5087032";
/// A thread panicked.
pub const THREAD_PANICKED: &str = "4a9bdcf68e9009382f570a2ce5087033";
/// A request or a report was refused.
pub const REJECTED: &str = "4a9bdcf68e9009382f570a2ce5087034";
/// Reports were dropped for want of room or as too many.
pub const DROPPED: &str = "4a9bdcf68e9009382f570a2ce5087035";
/// Connections were refused or cut for want of room.
pub const CONNECTION_LIMIT: &str = "4a9bdcf68e9009382f570a2ce5087036";
/// Someone logged in.
pub const LOGGED_IN: &str = "4a9bdcf68e9009382f570a2ce5087037";
/// A login was refused.
pub const LOGIN_FAILED: &str = "4a9bdcf68e9009382f570a2ce5087038";
/// A password crosses a network in the clear.
pub const PLAIN_HTTP: &str = "4a9bdcf68e9009382f570a2ce5087039";
