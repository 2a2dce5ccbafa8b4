//! The login page.

use maud::{Markup, html};
use rouille::{Request, Response};

use super::page::{Page, root};
use crate::server::ServedInstance;
use crate::server::login_limiter::TooManyAttempts;

/// Why a form was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is not the password.
    WrongPassword,
    /// Too many attempts.
    TooMany(TooManyAttempts),
    /// The form came from another site.
    OtherSite,
    /// It is not the form of this page.
    BadForm,
    /// There is no password.
    NoLogin,
    /// There is nothing to look at.
    NoNetwork,
    /// The last login has ended: no mistake, but to be told.
    Ended,
}

impl Problem {
    fn status(self) -> u16 {
        match self {
            Self::WrongPassword | Self::OtherSite | Self::NoLogin => 403,
            Self::TooMany(_) => 429,
            Self::BadForm => 400,
            Self::NoNetwork => 503,
            Self::Ended => 200,
        }
    }

    fn text(self) -> String {
        match self {
            Self::WrongPassword => "This is not the password.".to_owned(),
            Self::TooMany(too_many) => {
                format!("Too many attempts. Try again in {} s.", too_many.retry_after_s)
            }
            Self::OtherSite => "That came from another site, so nothing was done. Log in here.".to_owned(),
            Self::BadForm => "That was not this form. Please try again.".to_owned(),
            Self::NoLogin => "Nobody can log in here.".to_owned(),
            Self::NoNetwork => "No network is running here.".to_owned(),
            Self::Ended => "Your login has ended. Log in again to go on where you were.".to_owned(),
        }
    }
}

/// The page, with what was wrong with the last attempt.
pub(super) fn page(
    instance: &ServedInstance,
    request: &Request,
    problem: Option<Problem>,
    next: Option<&str>,
) -> Response {
    let problem = if instance.login.is_none() { Some(Problem::NoLogin) } else { problem };
    let body = html! {
        section.entrance {
            h1 { "Log in" }
            @match problem {
                Some(Problem::Ended) => p.alert.caution role="status" { (Problem::Ended.text()) },
                Some(Problem::TooMany(too_many)) => {
                    p.alert role="alert" data-retry-after=(too_many.retry_after_s) { (Problem::TooMany(too_many).text()) }
                }
                Some(problem) => p.alert role="alert" { (problem.text()) },
                None => {}
            }
            @if instance.login.is_some() { (form(request, next)) } @else { (no_login()) }
        }
    };
    let page = Page::new(instance, request, "Log in – Distomon".to_owned())
        .status(problem.map_or(200, Problem::status));
    let response = page.response(request, &body);
    match problem {
        Some(Problem::TooMany(too_many)) => {
            response.with_additional_header("Retry-After", too_many.retry_after_s.to_string())
        }
        _ => response,
    }
}

fn form(request: &Request, next: Option<&str>) -> Markup {
    html! {
        form method="post" action={ (root(request)) "login" } {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            label for="user" { "User" }
            input #user type="text" name="user" value="admin" autocomplete="username" readonly tabindex="-1";
            label for="password" { "Password" }
            input #password type="password" name="password" autocomplete="current-password" required autofocus;
            button { "Log in" }
        }
    }
}

fn no_login() -> Markup {
    html! {
        p { "This instance has no login, and without one nobody sees anything. To have one, on its host:" }
        ol {
            li { "remove " code { "login: false" } " from " code { "nodeconf.yml" }
                ": then it makes a password, which " code { "distomon password NAME" } " shows to root; or set "
                code { "login_password_hash" } ", as " code { "distomon init" } " makes one;" }
            li { "reload the instance: " code { "systemctl reload distomon@NAME" } "." }
        }
    }
}
