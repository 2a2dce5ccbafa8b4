//! Logging in and out with a form, guarded against forms of other sites.

use rouille::{Request, Response, input};

use super::Login;
use super::credentials::{is_secure, set_cookie};
use crate::dashboard::{self, Problem};
use crate::server::ServedInstance;

/// The longest path to go on to after a login, in bytes.
const MAX_NEXT: usize = 256;

impl Login {
    /// `POST /login`: the form's fields are `password` and perhaps `next`, a path of this site. The right
    /// password sets the cookie and leads on to `next`; anything else shows the form again.
    pub fn post_login(&self, instance: &ServedInstance, request: &Request) -> Response {
        if !is_same_origin(request) {
            return dashboard::deny(instance, request, Problem::OtherSite, None);
        }
        let fields = input::post::raw_urlencoded_post_input(request).unwrap_or_default();
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let next = field("next").filter(|next| is_local(next));
        let again = |problem| dashboard::deny(instance, request, problem, next);
        let Some(password) = &instance.login else { return again(Problem::NoLogin) };
        let Some(attempt) = field("password") else { return again(Problem::BadForm) };
        match self.try_password(password, attempt, true, request) {
            Err(too_many) => again(Problem::TooMany(too_many)),
            Ok(false) => again(Problem::WrongPassword),
            Ok(true) => match self.new_session(instance, password, is_secure(instance, request)) {
                Some(cookie) => {
                    let to = next.map_or_else(|| first_page(instance), str::to_owned);
                    go_to(request, &to).with_additional_header("Set-Cookie", cookie)
                }
                None => again(Problem::NoNetwork),
            },
        }
    }

    /// `POST /logout`: clears the cookie.
    pub fn post_logout(&self, instance: &ServedInstance, request: &Request) -> Response {
        if !is_same_origin(request) {
            return dashboard::deny(instance, request, Problem::OtherSite, None);
        }
        let mut response = go_to(request, "/login");
        for secure in [false, true] {
            response = response.with_additional_header("Set-Cookie", set_cookie(instance, secure, "", 0));
        }
        response
    }
}

/// Where a login leads that was meant for nothing else: to the network, where there is only one.
fn first_page(instance: &ServedInstance) -> String {
    let mut networks = instance.nodes.keys();
    match (networks.next(), networks.next()) {
        (Some(only), None) => format!("/network/{only}"),
        _ => "/".to_owned(),
    }
}

/// Leads on to the local path `to`, relative to the request's own, so that a proxy may strip a prefix.
pub(crate) fn go_to(request: &Request, to: &str) -> Response {
    let to = format!("{}{}", dashboard::root(request), to.trim_start_matches('/'));
    Response::redirect_303(to).with_unique_header("Cache-Control", "no-store")
}

/// The login page that leads on to `next`, a path of this site with its query.
pub(crate) fn login_page(next: &str) -> String {
    let byte = |byte: u8| match byte {
        // What would end the value, or be decoded to something else.
        b'&' | b'=' | b'?' | b'+' | b'#' | b'%' => format!("%{byte:02X}"),
        other => char::from(other).to_string(),
    };
    format!("login?next={}", next.bytes().map(byte).collect::<String>())
}

/// Whether `next` is a path on this site, and nothing that a browser could take for another one.
pub(crate) fn is_local(next: &str) -> bool {
    next.len() <= MAX_NEXT
        && next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

/// Whether a form comes from this site's own page, as far as the browser tells. The cookie alone guards
/// nothing at the login, since there is none yet: another site could log someone in.
pub(super) fn is_same_origin(request: &Request) -> bool {
    // Browsers send it only over https or to loopback, but then a proxy cannot disturb it.
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
    fn only_local_paths() {
        for good in ["/", "/network/a", "/a?b=c", "/a//b"] {
            assert!(is_local(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(MAX_NEXT));
        for bad in ["", "a", "//evil", "/\\evil", "\\\\evil", "http://evil/", "/a\r\nb", "/ä", "/a b", &long]
        {
            assert!(!is_local(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_query_comes_back_whole() {
        let path = "/network/a?q=b%26c+d&page=2";
        let login = login_page(path);
        let request = Request::fake_http("GET", format!("/{login}"), Vec::new(), Vec::new());
        assert_eq!(request.get_param("next").as_deref(), Some(path));
    }

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
