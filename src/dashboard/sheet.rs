//! What a page shows, in regions: the whole of it at first, then only the regions that have changed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use maud::{Markup, PreEscaped, html};

use super::state::State;

/// The content of a page.
pub(super) struct Sheet {
    /// The title, without the symbol of its state.
    pub(super) title: String,
    /// How things stand.
    pub(super) state: State,
    /// The sentence that is read out when it changes.
    pub(super) told: String,
    /// The way here: names and paths below the root.
    pub(super) trail: Vec<(String, String)>,
    /// The parts, from top to bottom.
    pub(super) regions: Vec<Region>,
    /// A digest of the configuration that the page was made for; another one needs another page.
    pub(super) made_for: String,
}

/// A part of a page.
pub(super) struct Region {
    name: String,
    html: String,
    hash: String,
    /// It is not replaced: a script keeps it up to date.
    still: bool,
}

impl Region {
    /// A part that is replaced when it has changed. It must not tell the time, or it changes all the time.
    pub(super) fn new(name: impl Into<String>, html: Markup) -> Self {
        let html = html.into_string();
        let mut hasher = DefaultHasher::new();
        html.hash(&mut hasher);
        Self { name: name.into(), hash: format!("{:016x}", hasher.finish()), html, still: false }
    }

    /// A part that stays as it was sent.
    pub(super) fn still(name: impl Into<String>, html: Markup) -> Self {
        Self { still: true, ..Self::new(name, html) }
    }

    /// Its name, the hash of its content, and its content, if a page that has the content of these hashes needs
    /// it.
    pub(super) fn news(&self, have: &str) -> Option<(&str, &str, &str)> {
        let is_known = self.still || have.split(',').any(|hash| hash == self.hash);
        (!is_known).then_some((&self.name, &self.hash, &self.html))
    }
}

impl Sheet {
    /// The regions as they stand on the page.
    pub(super) fn body(&self) -> Markup {
        html! {
            @for region in &self.regions {
                @if region.still {
                    (PreEscaped(&region.html))
                } @else {
                    div data-region=(region.name) data-hash=(region.hash) { (PreEscaped(&region.html)) }
                }
            }
        }
    }
}
