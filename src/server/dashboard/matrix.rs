//! The table of observers and targets: who sees whom, by each node's own word.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::words;
use crate::mesh::observation::{Observation, Status};
use crate::mesh::report::Report;
use crate::mesh::{Now, Picture};

/// Up to this many nodes there is room for the round-trip times.
const ROOMY: usize = 8;

/// The class by which the style gives a status its colour and symbol; the word itself is its text.
pub(super) fn class(status: Status) -> &'static str {
    match status {
        Status::Online => "on",
        Status::Offline => "off",
        Status::Unknown => "un",
    }
}

/// One row for each observer, one column for each target.
pub(super) fn table(picture: &Picture, now: Now) -> Markup {
    let members = picture.roster().members();
    let roomy = members.len() <= ROOMY;
    html! {
        p.legend {
            "Each row is what one node reported of the others: "
            span.state.on { "online" } " " span.state.off { "offline" } " " span.state.un { "unknown" }
            ". Pale rows are out of date."
        }
        div.box.snug tabindex="0" {
            table.matrix.roomy[roomy] {
                thead { tr {
                    td { "from ↓ to →" }
                    @for member in members { th scope="col" { span { (member.id) } } }
                } }
                tbody {
                    @for (index, (member, slot)) in picture.members().enumerate() {
                        @let report = slot.held.as_ref().map(|held| held.report());
                        tr.stale[!picture.is_fresh(index, now.mono_ms)] {
                            th scope="row" { (member.id) }
                            @for (target, other) in members.iter().enumerate() {
                                @if target == index {
                                    td.me {}
                                } @else {
                                    (cell(report, other.id.as_str(), member.id.as_str(), now, roomy))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(report: Option<&Report>, target: &str, observer: &str, now: Now, roomy: bool) -> Markup {
    let Some(found) = report.and_then(|report| report.observation(target)) else {
        return html! { td.no title={ (observer) " → " (target) ": nothing reported" } { "–" } };
    };
    html! {
        td class=(class(found.status)) title={ (observer) " → " (target) ": " (story(found, now)) } {
            (found.status)
            @if roomy {
                @if let Some(us) = found.rtt_us { " " small { (words::milliseconds(us)) } }
            }
        }
    }
}

fn story(found: &Observation, now: Now) -> String {
    let mut text = format!("{} for {}", found.status, words::since(found.since_ms, now.wall_ms));
    if let Some(us) = found.rtt_us {
        let _ = write!(text, ", {} ms", words::milliseconds(us));
    }
    if let Some(error) = found.error {
        text += ", ";
        text += error.meaning();
    }
    text
}
