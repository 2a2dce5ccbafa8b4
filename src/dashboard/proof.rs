//! A node's signed report: what it says of itself, the report to be taken home, and how anyone can check it.

use maud::{Markup, html};

use super::words;
use crate::crypto::PublicKey;
use crate::crypto::dsse::PAYLOAD_TYPE;
use crate::mesh::Snapshot;
use crate::present::own_observation::own_observation;

/// The section of a node's page.
pub(super) fn section(snapshot: &Snapshot, index: usize, root: &str) -> Markup {
    let membership = snapshot.membership();
    let (member, slot) = (&membership.members()[index], &snapshot.states()[index]);
    let at = snapshot.at();
    let arrived_ms = at.wall_ms.saturating_sub(at.mono_ms.saturating_sub(slot.received_ms));
    let offset = own_observation(snapshot, index).and_then(|found| found.clock_offset_ms);
    html! {
        section #report aria-labelledby="report-title" {
            h2 #report-title { "Its report" }
            @match &slot.latest {
                None => p.faint { "Nothing that it signed has come here since this node was started." },
                Some(latest) => {
                    @let report = latest.report();
                    dl.facts {
                        dt { "Number" } dd { (report.seq) " of epoch " (report.epoch) }
                        dt { "Made" } dd { (words::clock(report.at_ms)) ", by its own clock (" (words::ago(report.at_ms)) ")" }
                        dt { "Came here" } dd { (words::ago(arrived_ms)) }
                        dt { "Interval" } dd { (seconds(report.interval_ms)) }
                        dt { "Version" } dd { (report.version) }
                        dt { "Clock" } dd { @if let Some(ms) = offset { (words::offset(ms)) " against this node's" } @else { "not measured from here" } }
                        dt { "Configuration" } dd { code { (report.config) } @if report.config == membership.digest() { ", the same as here" } @else { ", " strong { "another than here" } } }
                        dt { "Key" } dd { code { (latest.key().fingerprint()) } }
                        dt { "Says of itself" } dd {
                            @if report.leaving { "that it is being stopped" } @else if report.isolated { "that it may be cut off" } @else { "nothing special" }
                        }
                    }
                    p { a.button href={ (root) "report/" (membership.network_id()) "/" (member.id) } download { "Download the signed report" } }
                    (check(member.id.as_str(), latest.key()))
                }
            }
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// How anyone can check it, with tools that know nothing of Distomon.
fn check(id: &str, key: &PublicKey) -> Markup {
    html! {
        details.check {
            summary { "How to check it" }
            p {
                "The report is a DSSE envelope with one Ed25519 signature. With " code { "jq" } " and " code { "openssl" }
                " (3.0 or newer), where it was saved as " code { (id) ".report.json" } ":"
            }
            pre tabindex="0" { code { (commands(id, key)) } }
            p { "Compare the key with the one in your own " code { "config.yml" } " or " code { "pubkeys/" (id) ".pub" } ": this page only shows what this node knows." }
        }
    }
}

/// The commands, which end with "Signature Verified Successfully".
pub(super) fn commands(id: &str, key: &PublicKey) -> String {
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
