//! The pages: who sees them, that they are closed up, and that nothing on them is anybody else's markup.

use super::*;
use crate::server::fixture::{self, Net, PASSWORD, field, request, request_from, text};

/// Gets a page as someone who is logged in.
fn get(instance: &Instance, login: &Login, path: &str) -> Response {
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = request("POST", "/login", &fields, &format!("password={PASSWORD}"));
    let reply = answer(instance, login, &form).expect("a reply");
    let cookie =
        field(&reply, "Set-Cookie").expect("a cookie").split(';').next().expect("a value").to_owned();
    answer(instance, login, &request("GET", path, &[("Cookie", &cookie)], "")).expect("a page")
}

#[test]
fn who_is_not_logged_in_is_led_to_the_login() {
    let net = Net::new("net-1", 2);
    let (instance, login) = (fixture::instance(&[&net]), Login::new());
    for (path, location) in [
        ("/", "./login"),
        ("/network/net-1", "../login?next=/network/net-1"),
        ("/network/elsewhere", "../login?next=/network/elsewhere"),
        ("/network/a/b", "../../login?next=/network/a/b"),
    ] {
        let reply = answer(&instance, &login, &request("GET", path, &[], "")).expect("a reply");
        assert_eq!((reply.status_code, field(&reply, "Location")), (303, Some(location)), "{path}");
    }
    for (method, path) in [
        ("GET", "/view"),
        ("POST", "/"),
        ("GET", "/assets/"),
        ("DELETE", "/login"),
        ("POST", "/network/net-1"),
    ] {
        assert!(answer(&instance, &login, &request(method, path, &[], "")).is_none(), "{method} {path}");
    }
    let page =
        answer(&instance, &login, &request("HEAD", "/login?next=/network/net-1", &[], "")).expect("a page");
    assert_eq!(page.status_code, 200);
    assert!(text(page).contains("name=\"next\" value=\"/network/net-1\""));
}

#[test]
fn pages_are_closed_up() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let (instance, login) = (fixture::instance(&[&one, &two]), Login::new());
    for (path, status) in [
        ("/", 200),
        ("/login", 200),
        ("/network/net-1", 200),
        ("/network/elsewhere", 404),
        ("/network/%00", 404),
    ] {
        let page = get(&instance, &login, path);
        assert_eq!(page.status_code, status, "{path}");
        let policy = field(&page, "Content-Security-Policy").expect("a policy");
        for rule in [
            "default-src 'none'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{rule}");
        }
        assert_eq!(field(&page, "X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(field(&page, "Referrer-Policy"), Some("same-origin"));
        assert_eq!(field(&page, "Cache-Control"), Some("no-store"));
        let text = text(page);
        // What the policy would block is not there in the first place.
        for bad in ["<script", " style=", "<style", " onclick", "http://", "https://", "//"] {
            let found = text.replace("http://10.0.0.", "").contains(bad);
            assert!(!found, "{path}: {bad}");
        }
    }
}

#[test]
fn one_network_is_shown_at_once() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let login = Login::new();
    let page = text(get(&fixture::instance(&[&one]), &login, "/"));
    assert!(page.contains("Who sees whom") && !page.contains("All networks"));
    let both = fixture::instance(&[&one, &two]);
    let page = text(get(&both, &login, "/"));
    assert!(page.contains("href=\"./network/net-1\"") && page.contains("href=\"./network/net-2\""));
    assert!(page.contains("http-equiv=\"refresh\""));
    let page = text(get(&both, &login, "/network/net-2"));
    assert!(page.contains("All networks") && page.contains("href=\"../\""));
    let page =
        get_network(&both, &both.nodes[&two.id], &Viewer::of(&[&one.id]), &request("GET", "/", &[], ""));
    assert_eq!(page.status_code, 403);
    assert!(!text(page).contains("net-2"));
}

#[test]
fn the_picture_is_on_the_page() {
    let net = Net::new("net-1", 4);
    let page = text(get(&fixture::instance(&[&net]), &Login::new(), "/"));
    for part in [
        "<span class=\"state on\">2 online</span>",
        "<span class=\"state off\">1 offline</span>",
        "<span class=\"state un\">1 unknown</span>",
        "nothing listens there",
        "0.81 ms",
        "−3 ms",
        "9.8.7",
        "other configuration",
        "no report yet",
        "node-01 → node-02: offline for",
        "no answer in time",
        "node-02 → node-00: nothing reported",
        "<th scope=\"row\"",
        "<th scope=\"col\"",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[test]
fn nothing_is_taken_for_markup() {
    let net = Net::new("net-1", 3);
    let instance = fixture::instance(&[&net]);
    // The url of a node holds `"<2>"`.
    let page = text(get(&instance, &Login::new(), "/"));
    assert!(page.contains("b=&quot;&lt;2&gt;&quot;") && !page.contains("<2>"));
    let request = request("GET", "/login?next=%22%3E%3Cscript%3E", &[], "");
    let page = text(answer(&instance, &Login::new(), &request).expect("a page"));
    assert!(page.contains("&quot;&gt;&lt;script&gt;") && !page.contains("<script"));
}

#[test]
fn without_https_there_is_a_warning() {
    let net = Net::new("net-1", 2);
    let mut instance = fixture::instance(&[&net]);
    let mut check = |from: &str, secure: bool, expected: bool| {
        instance.secure = secure;
        let page = get_login(&instance, &request_from(from, "GET", "/login", &[], ""));
        assert_eq!(text(page).contains("Not encrypted"), expected, "{from} {secure}");
    };
    check("127.0.0.1:5", false, false);
    check("[::1]:5", false, false);
    check("[::ffff:127.0.0.1]:5", false, false);
    check("10.0.0.9:5", false, true);
    check("[2001:db8::1]:5", false, true);
    check("10.0.0.9:5", true, false);
}

#[test]
fn without_a_login_the_page_says_what_to_do() {
    let instance = Instance::default();
    let page = get_login(&instance, &request("GET", "/login", &[], ""));
    assert_eq!(page.status_code, 403);
    let page = text(page);
    assert!(page.contains("login: false") && !page.contains("<form"));
}

#[test]
fn files_of_the_pages() {
    let (instance, login) = (Instance::default(), Login::new());
    for asset in [&assets::STYLE, &assets::ICON] {
        let path = format!("/{}", asset.path);
        let file = answer(&instance, &login, &request("GET", &path, &[], "")).expect("a file");
        assert_eq!(file.status_code, 200);
        let etag = field(&file, "ETag").expect("an ETag").to_owned();
        assert!(field(&file, "Cache-Control").is_some_and(|value| value.contains("immutable")));
        assert!(!text(file).contains("url("), "nothing is loaded from elsewhere");
        let known = answer(&instance, &login, &request("GET", &path, &[("If-None-Match", &etag)], ""));
        assert_eq!(known.map(|reply| reply.status_code), Some(304));
    }
}

#[test]
fn a_large_network_stays_small_enough() {
    let net = Net::new("net-1", 64);
    let page = text(get(&fixture::instance(&[&net]), &Login::new(), "/"));
    assert!(page.len() < 600_000, "{}", page.len());
}
