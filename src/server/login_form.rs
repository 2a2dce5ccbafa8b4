//! Login and logout by a form, protected against forms of other sites.

use rouille::{Request, Response, input};

use super::auth::{Auth, cookies, is_secure, set_cookie};
use super::page_reply::login_reply;
use super::redirect::{is_local_path, redirect};
use super::served_instance::ServedInstance;
use crate::dashboard::LoginProblem;

/// The maximum number of cookies whose session a logout ends: one for https, and one for http.
const MAX_COOKIES: usize = 2;

impl Auth {
    /// Handles `POST /login`, a form with `password` and an optional local path `next`. Sets the cookie and redirects to
    /// `next` if the password is right, otherwise replies with the form and the reason.
    pub fn post_login(&self, instance: &ServedInstance, request: &Request) -> Response {
        if !is_same_origin(request) {
            return login_reply(instance, request, Some(LoginProblem::OtherSite), None);
        }
        let fields = input::post::raw_urlencoded_post_input(request).unwrap_or_default();
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let next = field("next").filter(|next| is_local_path(next));
        let reject = |problem| login_reply(instance, request, Some(problem), next);
        let Some(password) = &instance.login else { return reject(LoginProblem::NoLogin) };
        let Some(attempt) = field("password") else { return reject(LoginProblem::InvalidForm) };
        match self.try_password(password, attempt, true, request) {
            Err(too_many) => reject(LoginProblem::TooManyAttempts { retry_after_s: too_many.retry_after_s }),
            Ok(false) => reject(LoginProblem::WrongPassword),
            Ok(true) => match self.new_session(instance, password, is_secure(instance, request)) {
                Some(cookie) => {
                    let to = next.map_or_else(|| first_page(instance), str::to_owned);
                    redirect(request, &to).with_additional_header("Set-Cookie", cookie)
                }
                None => reject(LoginProblem::NoNetwork),
            },
        }
    }

    /// Handles `POST /logout`: ends the session and clears the cookie.
    pub fn post_logout(&self, instance: &ServedInstance, request: &Request) -> Response {
        if !is_same_origin(request) {
            return login_reply(instance, request, Some(LoginProblem::OtherSite), None);
        }
        for token in cookies(request, instance).take(MAX_COOKIES) {
            self.end_session(instance, token);
        }
        let mut response = redirect(request, "/login");
        for secure in [false, true] {
            response = response.with_additional_header("Set-Cookie", set_cookie(instance, secure, "", 0));
        }
        response
    }
}

/// Returns the path after a login without `next`: the page of the only network, or the overview.
fn first_page(instance: &ServedInstance) -> String {
    let mut networks = instance.nodes.keys();
    match (networks.next(), networks.next()) {
        (Some(only), None) => format!("/network/{only}"),
        _ => "/".to_owned(),
    }
}

/// Returns whether a form comes from a page of this site, by the fields that the browser sends. `SameSite` cookies do
/// not protect the login, since there is no cookie yet: another site could log a user in.
fn is_same_origin(request: &Request) -> bool {
    // Browsers send it only over https or to loopback, but no proxy changes it.
    if let Some(site) = request.header("Sec-Fetch-Site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.header("Origin") else { return true };
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let (Some(origin), Some(host)) = (host, request.header("Host")) else { return false };
    origin.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites() {
        let check = |fields: &[(&str, &str)], expected: bool| {
            let list = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let request = Request::fake_http("POST", "/login", list, Vec::new());
            assert_eq!(is_same_origin(&request), expected, "{fields:?}");
        };
        let host = ("Host", "h:8000");
        check(&[host], true);
        check(&[host, ("Origin", "http://h:8000")], true);
        check(&[host, ("Origin", "https://H:8000")], true);
        check(&[host, ("Origin", "http://h:8001")], false);
        check(&[host, ("Origin", "http://h")], false);
        check(&[host, ("Origin", "http://evil")], false);
        check(&[host, ("Origin", "null")], false);
        check(&[host, ("Origin", "")], false);
        check(&[("Origin", "http://h:8000")], false);
        check(&[host, ("Sec-Fetch-Site", "same-origin"), ("Origin", "https://proxy")], true);
        check(&[host, ("Sec-Fetch-Site", "none")], true);
        check(&[host, ("Sec-Fetch-Site", "same-site")], false);
        check(&[host, ("Sec-Fetch-Site", "cross-site"), ("Origin", "http://h:8000")], false);
    }
}
