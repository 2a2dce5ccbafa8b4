//! The colours of pages. A cookie stores the choice, so that a page has its colours before any script runs.

use maud::{Markup, html};

/// The name of the cookie. All instances on a host share it.
pub const COOKIE: &str = "distomon-theme";

/// The colours of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// The preference of the reader's system.
    #[default]
    Auto,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    /// Returns the value in the cookie and the form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Parses the value of the cookie or the form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text)
    }

    /// Returns the value of `data-theme`, or `None` where the system decides.
    pub(super) fn attribute(self) -> Option<&'static str> {
        (self != Self::Auto).then(|| self.as_str())
    }
}

/// Renders the form that sets the theme. It returns to `here`, an absolute path with its query.
pub(super) fn form(root: &str, here: &str, theme: Theme) -> Markup {
    html! {
        form #theme method="post" action={ (root) "theme" } {
            input type="hidden" name="next" value=(here);
            fieldset {
                legend.visually-hidden { "Colours" }
                @for other in Theme::ALL {
                    button name="theme" value=(other.as_str()) aria-pressed=(if other == theme { "true" } else { "false" }) { (other.as_str()) }
                }
            }
        }
    }
}
