//! Simulated networks: engines with real keys, signatures and messages on virtual hosts, under virtual time.
//!
//! There are no sockets and no HTTP signatures; a link model delays, drops and blocks messages. A run is
//! determined by its seed. `DISTOMON_SEED=<n>` replays one seed, and a failing run prints its seed.

mod byzantine;
mod config_rollout;
mod detection_time;
mod dissemination;
mod fault;
mod fixtures;
mod fuzz;
mod ground_truth;
mod identity;
mod invariant_checker;
mod isolation;
mod link_model;
mod membership;
mod message;
mod network;
mod node_set;
mod outage_rule;
mod overload;
mod probing;
mod replay_attack;
mod rings;
mod rollout;
mod rollout_under_faults;
mod scenario;
mod scenario_run;
mod scenario_text;
mod steady_state;
mod tolerance;
mod verdicts;
mod violation;
mod virtual_host;

/// The seeds that each test runs with.
fn seeds() -> Vec<u64> {
    match std::env::var("DISTOMON_SEED") {
        Ok(text) => vec![text.parse().expect("DISTOMON_SEED is a number")],
        Err(_) => vec![1, 2],
    }
}
