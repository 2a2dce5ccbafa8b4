//! The content of a page, split into regions that are updated separately.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use maud::{Markup, PreEscaped, html};

use super::health::Health;

/// The content of a page.
pub(super) struct PageContent {
    /// The title, without the symbol of the health.
    pub(super) title: String,
    /// The health that the title and the icon show.
    pub(super) health: Health,
    /// The sentence that screen readers announce when it changes.
    pub(super) announcement: String,
    /// The way to the page, as names and paths below the root.
    pub(super) breadcrumbs: Vec<(String, String)>,
    /// The regions, from top to bottom.
    pub(super) regions: Vec<Region>,
    /// The digest of the configuration. A page of another one must be loaded again.
    pub(super) config_digest: String,
}

/// A part of a page.
pub(super) struct Region {
    name: String,
    html: String,
    hash: String,
    is_fixed: bool,
}

impl Region {
    /// Creates a region that is sent again when it changes. Its content must not depend on the time of the request,
    /// or it changes with each one.
    pub(super) fn new(name: impl Into<String>, html: Markup) -> Self {
        let html = html.into_string();
        let mut hasher = DefaultHasher::new();
        html.hash(&mut hasher);
        Self { name: name.into(), hash: format!("{:016x}", hasher.finish()), html, is_fixed: false }
    }

    /// Creates a region that is sent only with the page: it never changes, or a script updates it from other data.
    pub(super) fn fixed(name: impl Into<String>, html: Markup) -> Self {
        Self { is_fixed: true, ..Self::new(name, html) }
    }

    /// Returns name, hash and content, or `None` if the region is fixed or its hash is in the comma-separated list
    /// `have`.
    pub(super) fn update(&self, have: &str) -> Option<(&str, &str, &str)> {
        let is_known = self.is_fixed || have.split(',').any(|hash| hash == self.hash);
        (!is_known).then_some((&self.name, &self.hash, &self.html))
    }
}

impl PageContent {
    /// Returns the title of the page. The health comes first, so that a narrow tab shows it.
    pub(super) fn full_title(&self) -> String {
        format!("{} {} – Distomon", self.health.symbol(), self.title)
    }

    /// Renders all regions.
    pub(super) fn body(&self) -> Markup {
        html! {
            @for region in &self.regions {
                @if region.is_fixed {
                    (PreEscaped(&region.html))
                } @else {
                    div data-region=(region.name) data-hash=(region.hash) { (PreEscaped(&region.html)) }
                }
            }
        }
    }
}
