//! The login page.

use maud::{Markup, html};

use super::page_frame::{PageFrame, PageRequest, RenderedPage};

/// The reason why the login page is shown, unless the user opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginProblem {
    /// The password is wrong.
    WrongPassword,
    /// Too many attempts failed.
    TooManyAttempts {
        /// The time until the next attempt is allowed, in seconds.
        retry_after_s: u64,
    },
    /// Another site sent the form.
    OtherSite,
    /// The form has no password field.
    InvalidForm,
    /// This instance has no password.
    NoLogin,
    /// This instance serves no network.
    NoNetwork,
    /// The session has expired.
    SessionExpired,
}

impl LoginProblem {
    fn status(self) -> u16 {
        match self {
            Self::WrongPassword | Self::OtherSite | Self::NoLogin => 403,
            Self::TooManyAttempts { .. } => 429,
            Self::InvalidForm => 400,
            Self::NoNetwork => 503,
            Self::SessionExpired => 200,
        }
    }

    fn text(self) -> String {
        match self {
            Self::WrongPassword => "This is not the password.".to_owned(),
            Self::TooManyAttempts { retry_after_s } => {
                format!("Too many attempts. Try again in {retry_after_s} s.")
            }
            Self::OtherSite => "Another site sent this form, so it was ignored. Log in here.".to_owned(),
            Self::InvalidForm => "The form was incomplete. Please try again.".to_owned(),
            Self::NoLogin => "This instance has no login.".to_owned(),
            Self::NoNetwork => "This instance runs no network.".to_owned(),
            Self::SessionExpired => {
                "Your session has expired. Log in again to continue where you were.".to_owned()
            }
        }
    }
}

/// The content of a login page.
#[derive(Debug, Clone, Copy)]
pub struct LoginForm<'a> {
    /// Whether this instance has a password.
    pub has_password: bool,
    /// The reason why the page is shown, if any.
    pub problem: Option<LoginProblem>,
    /// The absolute path to open after the login.
    pub next: Option<&'a str>,
}

/// Renders the login page.
pub fn login_page(request: &PageRequest<'_>, login: &LoginForm<'_>) -> RenderedPage {
    let problem = if login.has_password { login.problem } else { Some(LoginProblem::NoLogin) };
    let body = html! {
        section.login {
            h1 { "Log in" }
            @if let Some(problem) = problem { (alert(problem)) }
            @if login.has_password { (form(&request.root(), login.next)) } @else { (how_to_add_a_login()) }
        }
    };
    let frame = PageFrame {
        request,
        title: "Log in – Distomon",
        is_logged_in: false,
        live_content: None,
        stalled_since_ms: None,
    };
    RenderedPage { status: problem.map_or(200, LoginProblem::status), html: frame.render(&body) }
}

fn alert(problem: LoginProblem) -> Markup {
    html! {
        @match problem {
            LoginProblem::SessionExpired => p.alert.caution role="status" { (problem.text()) },
            LoginProblem::TooManyAttempts { retry_after_s } => {
                p.alert role="alert" data-retry-after=(retry_after_s) { (problem.text()) }
            }
            _ => p.alert role="alert" { (problem.text()) },
        }
    }
}

fn form(root: &str, next: Option<&str>) -> Markup {
    html! {
        form method="post" action={ (root) "login" } {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            label for="user" { "User" }
            input #user type="text" name="user" value="admin" autocomplete="username" readonly tabindex="-1";
            label for="password" { "Password" }
            input #password type="password" name="password" autocomplete="current-password" required autofocus;
            button { "Log in" }
        }
    }
}

fn how_to_add_a_login() -> Markup {
    html! {
        p { "Without a login, the dashboard shows nothing. To add one, on the host of this instance:" }
        ol {
            li { "remove " code { "login: false" } " from " code { "nodeconf.yml" }
                ": the instance then generates a password, which " code { "distomon password NAME" }
                " shows to root; or set " code { "login_password_hash" } " as " code { "distomon init" } " does;" }
            li { "reload the instance: " code { "systemctl reload distomon@NAME" } "." }
        }
    }
}
