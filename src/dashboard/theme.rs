//! Light, dark, or as the reader's system has it: a cookie keeps the choice, so that no page flashes.

use maud::{Markup, html};
use rouille::{Request, Response, input};

use crate::server::redirect::{is_local_path, redirect};

/// The name of the cookie. Instances on one host share it: it is only a taste.
const COOKIE: &str = "distomon-theme";

/// How long the choice is kept, in seconds.
const KEPT_S: u32 = 365 * 24 * 3600;

/// What pages look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// As the reader's system has it.
    Auto,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text)
    }

    /// For the style; none where the system decides.
    pub(super) fn attribute(self) -> Option<&'static str> {
        (self != Self::Auto).then(|| self.as_str())
    }
}

/// What the request's cookie chooses.
pub(super) fn of(request: &Request) -> Theme {
    let cookie = input::cookies(request).find(|(name, _)| *name == COOKIE);
    cookie.and_then(|(_, value)| Theme::read(value)).unwrap_or(Theme::Auto)
}

/// The switch; it leads back to `here`, a path of this site with its query.
pub(super) fn form(root: &str, here: &str, theme: Theme) -> Markup {
    html! {
        form #theme method="post" action={ (root) "theme" } {
            input type="hidden" name="next" value=(here);
            fieldset {
                legend.quiet { "Colours" }
                @for other in Theme::ALL {
                    button name="theme" value=(other.as_str()) aria-pressed=(if other == theme { "true" } else { "false" }) { (other.as_str()) }
                }
            }
        }
    }
}

/// `POST /theme`: the form's fields are `theme` and `next`. Whoever sends it, only colours change.
pub(super) fn post(request: &Request) -> Response {
    let fields = input::post::raw_urlencoded_post_input(request).unwrap_or_default();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let theme = field("theme").and_then(Theme::read).unwrap_or(Theme::Auto);
    let next = field("next").filter(|next| is_local_path(next)).unwrap_or("/");
    let cookie = format!("{COOKIE}={}; Path=/; Max-Age={KEPT_S}; HttpOnly; SameSite=Strict", theme.as_str());
    redirect(request, next).with_additional_header("Set-Cookie", cookie)
}
