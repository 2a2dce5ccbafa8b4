//! A node's signed report: its content, a download, and how to verify it without Distomon.

use maud::{Markup, html};

use super::format;
use super::route::Links;
use crate::crypto::PublicKey;
use crate::mesh::Snapshot;
use crate::mesh::wire::report::PAYLOAD_TYPE;
use crate::mesh::wire::report::Report;
use crate::present::duration::format_seconds;
use crate::present::own_observation::own_observation;

/// Renders the section of a node's page.
pub(super) fn section(snapshot: &Snapshot, index: usize, links: Links<'_>) -> Markup {
    let membership = snapshot.membership();
    let (member, state) = (&membership.members()[index], &snapshot.states()[index]);
    let now = snapshot.at();
    let received_ms = now.wall_ms.saturating_sub(now.mono_ms.saturating_sub(state.received_ms));
    let offset_ms = own_observation(snapshot, index).and_then(|observation| observation.clock_offset_ms);
    html! {
        section #report aria-labelledby="report-title" {
            h2 #report-title { "Its report" }
            @match &state.latest {
                None => p.faint { "This node has received no report of it since it started." },
                Some(latest) => {
                    @let report = latest.report();
                    dl.facts {
                        dt { "Number" } dd { (report.seq) " of epoch " (report.epoch) }
                        dt { "Created" } dd { (format::time(report.at_ms)) ", by its own clock (" (format::time_ago(report.at_ms)) ")" }
                        dt { "Received" } dd { (format::time_ago(received_ms)) }
                        dt { "Interval" } dd { (format_seconds(report.interval_ms)) }
                        dt { "Version" } dd { (report.version) }
                        dt { "Clock" } dd { @if let Some(ms) = offset_ms { (format::clock_offset(ms)) " relative to this node's" } @else { "not measured by this node" } }
                        dt { "Configuration" } dd { code { (report.config) } @if report.config == membership.digest() { ", the same as this node's" } @else { ", " strong { "different from this node's" } } }
                        dt { "Key" } dd { code { (latest.key().fingerprint()) } }
                        dt { "State" } dd { (own_state(report)) }
                    }
                    p { a.button href=(links.report(&member.id)) download { "Download the signed report" } }
                    (instructions(member.id.as_str(), latest.key()))
                }
            }
        }
    }
}

/// Returns what the author reports about itself.
fn own_state(report: &Report) -> &'static str {
    if report.leaving.is_some() {
        "is stopping"
    } else if report.isolated {
        "may be isolated"
    } else {
        "running"
    }
}

fn instructions(id: &str, key: &PublicKey) -> Markup {
    html! {
        details {
            summary { "How to verify it" }
            p {
                "The report is a DSSE envelope with one Ed25519 signature. If it is saved as " code { (id) ".report.json" }
                ", verify it with " code { "jq" } " and " code { "openssl" } " (3.0 or newer):"
            }
            pre tabindex="0" { code { (commands(id, key)) } }
            p { "Compare the key with the one in your own " code { "config.yml" } " or " code { "pubkeys/" (id) ".pub" } ": this page shows only what this node knows." }
        }
    }
}

/// Returns shell commands that end with `Signature Verified Successfully`.
fn commands(id: &str, key: &PublicKey) -> String {
    let file = format!("{id}.report.json");
    let (length, key) = (PAYLOAD_TYPE.len(), key.to_base64_spki());
    format!(
        "printf '%s\\n' '-----BEGIN PUBLIC KEY-----' '{key}' '-----END PUBLIC KEY-----' > key.pem\n\
         jq -r .payload '{file}' | base64 -d > payload.json\n\
         jq -r '.signatures[0].sig' '{file}' | base64 -d > signature\n\
         {{ printf 'DSSEv1 {length} {PAYLOAD_TYPE} %d ' \"$(wc -c < payload.json)\"; cat payload.json; }} > signed\n\
         openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile signature\n\
         jq . payload.json"
    )
}
