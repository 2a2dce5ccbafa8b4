//! The page of two nodes: what each finds of the other.

use maud::{Markup, html};

use super::sheet::{Region, Sheet};
use super::state::State;
use super::words;
use crate::mesh::wire::observation::{Observation, ProbeStatus};
use crate::mesh::{Snapshot, Timestamps};

/// The page of the members with these indices.
pub(super) fn sheet(snapshot: &Snapshot, one: usize, other: usize, root: &str, now: Timestamps) -> Sheet {
    let membership = snapshot.membership();
    let network = membership.network_id();
    let (a, b) = (&membership.members()[one].id, &membership.members()[other].id);
    let base = format!("{root}network/{network}");
    let is_fresh = |from: usize| snapshot.is_fresh(from, now.mono_ms);
    let found = |from: usize, to: usize| snapshot.states()[from].observation(to).map(|found| found.status);
    // What was said long ago is shown, and counts for nothing: both may be dead.
    let ways = [(one, other), (other, one)].map(|(from, to)| found(from, to).filter(|_| is_fresh(from)));
    let state = match ways {
        _ if snapshot.isolated() => State::Blind,
        _ if ways.contains(&Some(ProbeStatus::Offline)) => State::Bad,
        _ if ways.contains(&Some(ProbeStatus::Unknown)) => State::Warn,
        _ if ways == [None, None] => State::Blind,
        _ => State::Good,
    };
    Sheet {
        title: format!("{a} ↔ {b} – {network}"),
        state,
        told: format!("{a} → {b}: {}; {b} → {a}: {}", word(ways[0]), word(ways[1])),
        trail: vec![
            (network.to_string(), format!("network/{network}")),
            (format!("{a} ↔ {b}"), format!("network/{network}/link/{a}/{b}")),
        ],
        regions: vec![
            Region::still("head", html! { h1 { (a) " ↔ " (b) } }),
            Region::new("pair", pair(snapshot, one, other, &base, now)),
        ],
        made_for: membership.digest().to_owned(),
    }
}

fn word(status: Option<ProbeStatus>) -> &'static str {
    status.map_or("nothing reported of late", ProbeStatus::as_str)
}

/// Both directions of one pair.
fn pair(snapshot: &Snapshot, one: usize, other: usize, base: &str, now: Timestamps) -> Markup {
    html! {
        section.pair aria-label="Both directions" {
            (way(snapshot, one, other, base, now))
            (way(snapshot, other, one, base, now))
        }
    }
}

fn way(snapshot: &Snapshot, from: usize, to: usize, base: &str, now: Timestamps) -> Markup {
    let members = snapshot.membership().members();
    let (a, b) = (&members[from].id, &members[to].id);
    let slot = &snapshot.states()[from];
    html! {
        div.way {
            p.title { a href={ (base) "/node/" (a) } { (a) } " → " a href={ (base) "/node/" (b) } { (b) } }
            @match slot.observation(to) {
                None => p.faint {
                    @if slot.latest.is_none() { (a) " has not reported yet." }
                    @else if snapshot.membership().observes(from, to) { (a) " has not reported anything of " (b) " yet." }
                    @else { (a) " does not observe " (b) "." }
                },
                Some(found) => (story(found, since_ms(snapshot, from, found, now))),
            }
            @if let Some(latest) = &slot.latest {
                p.faint {
                    "by " (a) "'s report " (latest.report().epoch) "/" (latest.report().seq)
                    @if !snapshot.is_fresh(from, now.mono_ms) { ", " strong { "which is too old to count" } }
                }
            }
        }
    }
}

/// Since when that is so, by this node's clock: Unix time in ms. The observer's may be off, but not the time between
/// what it found and its report.
pub(super) fn since_ms(snapshot: &Snapshot, from: usize, found: &Observation, now: Timestamps) -> u64 {
    let slot = &snapshot.states()[from];
    match &slot.latest {
        Some(latest) if from != snapshot.membership().me() => {
            let before_ms = latest.report().at_ms.saturating_sub(found.since_ms);
            let ago_ms = now.mono_ms.saturating_sub(slot.created_ms);
            now.wall_ms.saturating_sub(ago_ms).saturating_sub(before_ms)
        }
        _ => found.since_ms,
    }
}

/// What was found, in words.
fn story(found: &Observation, since_ms: u64) -> Markup {
    html! {
        p {
            span class={ "state " (class(found.status)) } { (found.status) }
            " since " (words::clock(since_ms)) " (" (words::ago(since_ms)) ")"
        }
        @if found.rtt_us.is_some() || found.error.is_some() {
            p {
                @if let Some(us) = found.rtt_us {
                    @if found.status == ProbeStatus::Online { "round trip " } @else { "last round trip " } (words::milliseconds(us)) " ms"
                }
                @if let Some(ms) = found.clock_offset_ms { ", its clock " (words::offset(ms)) }
                @if let Some(error) = found.error { @if found.rtt_us.is_some() { "; " } "newest attempt failed: " (error.meaning()) }
            }
        }
    }
}

/// The class by which the style gives a status its colour and symbol; the word itself is its text.
pub(super) fn class(status: ProbeStatus) -> &'static str {
    match status {
        ProbeStatus::Online => "on",
        ProbeStatus::Offline => "off",
        ProbeStatus::Unknown => "un",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fixture::{self, Net};

    #[test]
    fn what_was_said_long_ago_counts_for_nothing() {
        let snapshot = Net::new("net-1", 3).busy_node().snapshot();
        let heard_ms = snapshot.states()[1].created_ms;
        let check = |later_ms: u64, (one, other): (usize, usize), state: State, told: &str| {
            let now = Timestamps { mono_ms: heard_ms + later_ms, ..fixture::now() };
            let sheet = sheet(&snapshot, one, other, "./", now);
            assert_eq!((sheet.state, sheet.told.as_str()), (state, told), "{later_ms} {one} {other}");
        };
        check(0, (0, 1), State::Good, "node-00 → node-01: online; node-01 → node-00: online");
        check(
            0,
            (1, 2),
            State::Bad,
            "node-01 → node-02: offline; node-02 → node-01: nothing reported of late",
        );
        let long_ms = 600_000;
        check(
            long_ms,
            (0, 1),
            State::Good,
            "node-00 → node-01: online; node-01 → node-00: nothing reported of late",
        );
        check(
            long_ms,
            (1, 2),
            State::Blind,
            "node-01 → node-02: nothing reported of late; node-02 → node-01: nothing reported of late",
        );
    }
}
