//! Bodies of JSON replies. The names of their members and their words are a stable interface.

mod changes;
mod explanation;
mod network;
mod network_list;
mod verdict;

pub use changes::Changes;
pub use explanation::{ExplainError, Explanation};
pub use network::{NetworkBody, NetworkCounters};
pub use network_list::{NetworkList, NetworkSummary};
