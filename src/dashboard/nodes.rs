//! The table of a network's nodes: a page of it where there are many, or those that are looked for.

use maud::{Markup, html};
use rouille::Request;

use super::{network, words};
use crate::mesh::member_state::MemberState;
use crate::mesh::membership::Member;
use crate::mesh::{Snapshot, id};
use crate::present::own_observation::own_observation;
use crate::present::summary::severity;

/// From which offset on a clock is marked, in ms.
const MARKED_OFFSET_MS: u64 = 1_000;

/// So many nodes are on one page.
const PAGE: usize = 100;

/// Which nodes are asked for.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// A part of their names or sites.
    pub(super) text: String,
    /// The page, from 1 on.
    pub(super) page: usize,
}

impl Query {
    /// What the request's query says; what makes no sense counts as nothing.
    pub(super) fn of(request: &Request) -> Self {
        let text = request.get_param("q").unwrap_or_default();
        let text = text.trim().chars().take(id::MAX_NAME).collect();
        let page = request.get_param("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Self { text, page: page.max(1) }
    }
}

/// The section of a network's page: what is in trouble first, then by name.
pub(super) fn section(snapshot: &Snapshot, base: &str, query: &Query) -> Markup {
    let is_meant = |member: &Member| {
        let text = query.text.to_lowercase();
        member.id.as_str().to_lowercase().contains(&text)
            || member.site.as_ref().is_some_and(|site| site.as_str().to_lowercase().contains(&text))
    };
    let all = snapshot.membership().members().len();
    let trouble =
        |index: usize| snapshot.verdicts().nodes.get(index).map_or(0, |verdict| severity(verdict.status));
    let mut meant: Vec<_> =
        snapshot.members().enumerate().filter(|(_, (member, _))| is_meant(member)).collect();
    meant.sort_by_key(|(index, _)| (std::cmp::Reverse(trouble(*index)), *index));
    let pages = meant.len().div_ceil(PAGE).max(1);
    let page = query.page.min(pages);
    let has_sites = snapshot.membership().members().iter().any(|member| member.site.is_some());
    html! {
        section #nodes aria-labelledby="nodes-title" {
            h2 #nodes-title { "Nodes" }
            @if all > PAGE || !query.text.is_empty() {
                form.search role="search" method="get" action={ (base) "#nodes" } {
                    label for="q" { "Name or site" } " "
                    input #q type="search" name="q" value=(query.text) maxlength="64"; " "
                    button { "Find" } " " (meant.len()) " of " (all) " nodes"
                }
            }
            div.box tabindex="0" {
                table.list {
                    thead { tr {
                        th scope="col" { "Node" }
                        @if has_sites { th scope="col" { "Site" } }
                        th scope="col" { "Verdict" }
                        th scope="col" { "Since" }
                        th.num scope="col" { "Do not reach it" }
                        th.num scope="col" { "Clock" }
                        th scope="col" { "Version" }
                        th scope="col" { "Notes" }
                    } }
                    tbody {
                        @for (index, (member, slot)) in meant.iter().skip((page - 1) * PAGE).take(PAGE) {
                            (row(snapshot, *index, member, slot, base, has_sites))
                        }
                        @if meant.is_empty() { tr { td colspan="8" { "No node has this in its name or site." } } }
                    }
                }
            }
            @if pages > 1 { (turn(base, query, page, pages)) }
        }
    }
}

fn turn(base: &str, query: &Query, page: usize, pages: usize) -> Markup {
    let text: String = form_urlencoded(&query.text);
    let to = |page: usize| format!("{base}?q={text}&page={page}#nodes");
    html! {
        nav.pages aria-label="Pages of nodes" {
            @if page > 1 { a href=(to(page - 1)) rel="prev" { "← before" } } " "
            "page " (page) " of " (pages) " "
            @if page < pages { a href=(to(page + 1)) rel="next" { "next →" } }
        }
    }
}

/// Text as part of a query (the application/x-www-form-urlencoded of the URL standard, section 5).
fn form_urlencoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn row(
    snapshot: &Snapshot,
    index: usize,
    member: &Member,
    slot: &MemberState,
    base: &str,
    has_sites: bool,
) -> Markup {
    let is_me = index == snapshot.membership().me();
    let offset = own_observation(snapshot, index)
        .filter(|_| !is_me)
        .and_then(|found| Some((found, found.clock_offset_ms?)));
    let report = slot.latest.as_ref().map(|latest| latest.report());
    let verdict = snapshot.verdicts().nodes.get(index);
    let settled = snapshot.tracker().nodes().nth(index);
    html! {
        tr {
            th scope="row" {
                a href={ (base) "/node/" (member.id) } title=[member.url.as_deref()] { (member.id) }
                @if is_me { " " small { "this node" } }
            }
            @if has_sites { td { @if let Some(site) = &member.site { (site.as_str()) } } }
            td {
                @if let Some(verdict) = verdict {
                    (words::standing(verdict.status))
                    @if !verdict.causes.is_empty() { " " small { (network::causes(snapshot, index)) } }
                }
            }
            td { @if let Some(settled) = settled { (words::ago(settled.since_ms)) } }
            td.num {
                @if let Some(ballot) = verdict.map(|verdict| &verdict.vote_count).filter(|ballot| ballot.electorate > 0) {
                    (ballot.offline) " of " (ballot.electorate)
                }
            }
            td.num {
                @if let Some((found, ms)) = offset {
                    span.marked[ms.unsigned_abs() >= MARKED_OFFSET_MS]
                        title={ "exact to ± " (words::milliseconds(found.rtt_us.unwrap_or(0) / 2)) " ms" } {
                        (words::offset(ms))
                    }
                }
            }
            td { @if let Some(report) = report { (report.version) } }
            td { (notes(snapshot, member, slot)) }
        }
    }
}

/// What is out of the ordinary.
pub(super) fn notes(snapshot: &Snapshot, member: &Member, slot: &MemberState) -> Markup {
    let membership = snapshot.membership();
    let report = slot.latest.as_ref().map(|latest| latest.report());
    let mut notes: Vec<(&str, &str, &str)> = Vec::new();
    if slot.equivocation.is_some() {
        notes.push(("bad", "conflict", "It signed two different reports with one number: a cloned machine, a restored snapshot or a stolen key. Both are kept as proof."));
    }
    if member.keys.is_empty() {
        notes.push(("", "no key", "The configuration has no public key for it, so it takes no part yet."));
    }
    if member.url.is_none() {
        notes.push((
            "",
            "calls out",
            "It has no url: it is never probed, and its own reports tell that it lives.",
        ));
    }
    match report {
        None if member.keys.is_empty() => {}
        None => {
            notes.push((
                "",
                "no report yet",
                "Nothing that it signed has come here since this node started.",
            ));
        }
        Some(report) => {
            if report.isolated {
                notes.push((
                    "bad",
                    "in doubt",
                    "It sees more than half of the others offline, and doubts itself.",
                ));
            }
            if report.config != membership.digest() {
                notes.push((
                    "bad",
                    "other configuration",
                    "Its config.yml names other nodes or keys than this node's.",
                ));
            }
        }
    }
    html! {
        @for (class, word, meaning) in notes { span class={ "note " (class) } title=(meaning) { (word) } " " }
    }
}
