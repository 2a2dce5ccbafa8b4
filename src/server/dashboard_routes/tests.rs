//! Pages over HTTP: who may see them, that they load nothing from other sites, and that they escape all texts.

use super::*;
use crate::dashboard::assets::all;
use crate::server::fixture::{self, PASSWORD, field, json, request, request_from, text};
use crate::store::clock;
use crate::store::fixture::Net;

fn respond(instance: &ServedInstance, auth: &Auth, request: &Request) -> Option<Response> {
    DashboardRoutes::default().respond(instance, auth, request)
}

/// Gets a page after a login.
fn get(instance: &ServedInstance, auth: &Auth, path: &str) -> Response {
    get_with(instance, auth, path, &[])
}

fn get_with(instance: &ServedInstance, auth: &Auth, path: &str, more: &[(&str, &str)]) -> Response {
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = request("POST", "/login", &fields, &format!("password={PASSWORD}"));
    let reply = respond(instance, auth, &form).expect("a reply");
    let cookie =
        field(&reply, "Set-Cookie").expect("a cookie").split(';').next().expect("a value").to_owned();
    let fields: Vec<_> = more.iter().copied().chain([("Cookie", cookie.as_str())]).collect();
    respond(instance, auth, &request("GET", path, &fields, "")).expect("a page")
}

#[test]
fn without_a_session_pages_redirect_to_the_login() {
    let net = Net::new("net-1", 2);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::new());
    for (path, location) in [
        ("/", "./login"),
        ("/network/net-1", "../login?next=/network/net-1"),
        ("/network/elsewhere", "../login?next=/network/elsewhere"),
        ("/network/a/b", "../../login?next=/network/a/b"),
        ("/network/n/node/a?at=5", "../../../login?next=/network/n/node/a%3Fat%3D5"),
    ] {
        let reply = respond(&instance, &auth, &request("GET", path, &[], "")).expect("a reply");
        assert_eq!((reply.status_code, field(&reply, "Location")), (303, Some(location)), "{path}");
    }
    for (method, path) in [
        ("GET", "/view"),
        ("POST", "/"),
        ("GET", "/assets/"),
        ("DELETE", "/login"),
        ("POST", "/network/net-1"),
    ] {
        assert!(respond(&instance, &auth, &request(method, path, &[], "")).is_none(), "{method} {path}");
    }
    let page =
        respond(&instance, &auth, &request("HEAD", "/login?next=/network/net-1", &[], "")).expect("a page");
    assert_eq!(page.status_code, 200);
    assert!(text(page).contains("name=\"next\" value=\"/network/net-1\""));
}

/// The attributes with a URL, or with text that may contain one, for browsers and for the scripts of this site.
const URL_ATTRIBUTES: [&str; 19] = [
    "action",
    "archive",
    "background",
    "cite",
    "content",
    "data",
    "data-base",
    "data-path",
    "data-root",
    "data-unknown-icon",
    "formaction",
    "href",
    "manifest",
    "ping",
    "poster",
    "src",
    "srcdoc",
    "srcset",
    "value",
];

/// Returns the URLs in a page that may lead to other sites: absolute and scheme-relative ones in the attributes of
/// elements, and those that CSS or a script would load. Texts and other attributes may contain `//`, as base64 does.
fn foreign_urls(html: &str) -> Vec<&str> {
    let tags = html.split('<').skip(1).map(|part| part.split('>').next().unwrap_or_default());
    let in_attributes = tags.flat_map(|tag| {
        attributes(tag).filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            URL_ATTRIBUTES.contains(&name.rsplit(':').next().unwrap_or_default())
        })
    });
    let in_attributes = in_attributes.map(|(_, value)| value).filter(|value| leads_elsewhere(value));
    let in_css = ["url(", "@import", "import(", "importScripts"];
    let in_css = in_css.into_iter().flat_map(|start| html.match_indices(start).map(|(at, _)| &html[at..]));
    // The graph refers to a marker in the same page.
    let in_css =
        in_css.filter(|rest| !rest.starts_with("url(#")).map(|rest| rest.split('>').next().unwrap_or(rest));
    in_attributes.chain(in_css).collect()
}

/// Returns names and values of the attributes of a tag. A value may be without quotes.
fn attributes(tag: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = tag;
    std::iter::from_fn(move || {
        let (before, after) = rest.split_once('=')?;
        let name = before.split_whitespace().next_back().unwrap_or_default();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        rest = after;
        Some((name, value))
    })
}

/// Returns whether a value has a URL with a scheme or a host.
fn leads_elsewhere(value: &str) -> bool {
    let urls = value.split(|c: char| c.is_ascii_whitespace() || matches!(c, ',' | ';' | '=' | '\'' | '('));
    urls.filter(|url| !url.is_empty()).any(|url| {
        let authority = url.trim_start_matches(|c: char| c.is_ascii_control()).replace('\\', "/");
        let scheme = url.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        });
        authority.starts_with("//") || scheme
    })
}

#[test]
fn urls_of_other_sites_are_found() {
    let check = |html: &str, expected: &[&str]| assert_eq!(foreign_urls(html), expected, "{html}");
    for harmless in [
        "<code>ab//cd+=</code>",
        "<a href=\"./network/n?q=a//b\" title=\"http://10.0.0.1:8000/\">",
        "<tr class=outdated><th scope=row title=a><a href=../network/n/node/a>a</a>",
        "<path marker-end=\"url(#tip)\">",
        "<p>url of 'https'",
    ] {
        check(harmless, &[]);
    }
    check("<a class=\"b\" href=\"http://evil/\">", &["http://evil/"]);
    check("<link href=//evil/x.css rel=\"stylesheet\">", &["//evil/x.css"]);
    check("<img alt=\"=\" src=\"HTTPS://evil\">", &["HTTPS://evil"]);
    check("<a href=\"javascript:alert(1)\">", &["javascript:alert(1)"]);
    check("<a href=\"\\\\evil\">", &["\\\\evil"]);
    check("<use xlink:href=\"//evil#a\">", &["//evil#a"]);
    check("<img srcset=\"a.png 1x, //evil/b.png 2x\">", &["a.png 1x, //evil/b.png 2x"]);
    check("<meta content=\"0; url=https://evil\">", &["0; url=https://evil"]);
    check("<p style=\"background: url(x)\">", &["url(x)\""]);
    check("<style>@import 'x';</style>", &["@import 'x';</style"]);
}

#[test]
fn pages_load_nothing_from_other_sites() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let (instance, auth) = (fixture::instance(&[&one, &two]), Auth::new());
    for (path, status) in [
        ("/", 200),
        ("/login", 200),
        ("/network/net-1", 200),
        ("/network/net-1/node/node-01", 200),
        ("/network/net-1/link/node-00/node-02", 200),
        ("/network/net-1/node/elsewhere", 404),
        ("/network/net-1/link/node-00/elsewhere", 404),
        ("/network/elsewhere", 404),
        ("/network/%00", 404),
    ] {
        let page = get(&instance, &auth, path);
        assert_eq!(page.status_code, status, "{path}");
        let policy = field(&page, "Content-Security-Policy").expect("a policy");
        for rule in [
            "default-src 'self'",
            "object-src 'none'",
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
        // The policy would block these.
        for bad in ["<script>", " style=", "<style", " onclick", "http://", "https://"] {
            // The urls of nodes are shown, and lead nowhere.
            assert!(!text.replace("http://10.0.0.", "").contains(bad), "{path}: {bad}");
        }
        assert_eq!(foreign_urls(&text), [] as [&str; 0], "{path}");
        for element in text.split('<') {
            assert!(element.matches(" class=").count() <= 1, "{path}: {element}");
        }
        for script in text.split("<script").skip(1) {
            let own = script.split('"').nth(1).is_some_and(|src| src.contains("assets/"));
            assert!(script.starts_with(" src=") && own && script.contains("defer></script>"), "{script}");
        }
    }
}

#[test]
fn a_login_opens_the_only_network() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let check = |nets: &[&Net], next: &str, location: &str| {
        let form = request("POST", "/login", &fields, &format!("password={PASSWORD}{next}"));
        let reply = respond(&fixture::instance(nets), &Auth::new(), &form).expect("a reply");
        assert_eq!(field(&reply, "Location"), Some(location));
    };
    check(&[&one], "", "./network/net-1");
    check(&[&one, &two], "", "./");
    check(&[&one], "&next=/network/net-1/node/node-01", "./network/net-1/node/node-01");
    check(&[&one], "&next=//elsewhere", "./network/net-1");
}

#[test]
fn a_copied_cookie_opens_no_page_after_a_logout() {
    let net = Net::new("net-1", 3);
    let (instance, auth) = (fixture::instance(&[&net]), Auth::new());
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = request("POST", "/login", &fields, &format!("password={PASSWORD}"));
    let reply = respond(&instance, &auth, &form).expect("a reply");
    let set_cookie = field(&reply, "Set-Cookie").expect("a cookie");
    let cookie = [("Cookie", set_cookie.split(';').next().expect("a value"))];
    let statuses = || {
        ["/network/net-1", "/live/network/net-1"].map(|path| {
            let reply = respond(&instance, &auth, &request("GET", path, &cookie, ""));
            reply.expect("a reply").status_code
        })
    };
    assert_eq!(statuses(), [200, 200]);
    let get = respond(&instance, &auth, &request("GET", "/logout", &cookie, ""));
    assert!(get.is_none() && statuses() == [200, 200], "a link of another site ends no session");
    let reply = respond(&instance, &auth, &request("POST", "/logout", &cookie, "")).expect("a reply");
    assert_eq!(reply.status_code, 303);
    assert_eq!(statuses(), [303, 401]);
}

#[test]
fn a_session_reads_only_its_networks() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let auth = Auth::new();
    let both = fixture::instance(&[&one, &two]);
    let page = text(get(&both, &auth, "/"));
    assert!(page.contains("href=\"./network/net-1\"") && page.contains("href=\"./network/net-2\""));
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""));
    let page = text(get(&both, &auth, "/network/net-2"));
    assert!(page.contains("class=\"brand\" href=\"../\""));
    let request = request("GET", "/network/net-2", &[], "");
    let (dashboard, viewer) = (DashboardRoutes::default(), Viewer::of(&[&one.id]));
    let (route, session) = (Some(PageRoute::Network("net-2")), session(&both, &viewer));
    let query = page_query(&request, route);
    let page = dashboard.dashboard.page(session, &query, &page_request(&both, &request));
    assert_eq!(page.status, 403);
    assert!(!page.html.contains("node-01"));
    let live = dashboard.live_reply(session, &request, route);
    assert_eq!(live.status_code, 403);
}

#[test]
fn pages_show_the_snapshot() {
    let net = Net::new("net-1", 4);
    let instance = fixture::instance(&[&net]);
    let check = |path: &str, parts: &[&str]| {
        let page = text(get(&instance, &Auth::new(), path));
        for part in parts {
            assert!(page.contains(part), "{path}: {part} in {page}");
        }
    };
    check(
        "/network/net-1",
        &[
            "<p id=\"sentence\">",
            "<th scope=row title=node-01><a href=../network/net-1/node/node-01>node-01</a><td class=b>5.00<td class=m>–<td class=x>offline<td class=n>·",
            "<td class=a>0.81",
            "−3 ms",
            "9.8.7",
            "other configuration",
            "no report yet",
            "<th scope=\"row\"",
            "<th scope=\"col\"",
            "<svg viewBox",
        ],
    );
    check(
        "/network/net-1/node/node-02",
        &["nothing listens at its address", "no answer in time", "Why this verdict", "could vote"],
    );
    check(
        "/network/net-1/node/node-01",
        &["0.81 ms", "5.00 ms", "9.8.7", "href=\"../../../report/net-1/node-01\"", "openssl pkeyutl -verify"],
    );
    check(
        "/network/net-1/link/node-01/node-02",
        &["node-01 ↔ node-02", "no answer in time", "node-02 has not reported yet"],
    );
}

#[test]
fn an_invalid_time_is_not_now() {
    let net = Net::new("net-1", 3);
    let instance = fixture::instance(&[&net]);
    let check = |at: &str, status: u16, part: &str| {
        let page = get(&instance, &Auth::new(), &format!("/network/net-1/node/node-01?at={at}"));
        assert_eq!(page.status_code, status, "{at}");
        assert!(text(page).contains(part), "{at}: {part}");
    };
    check("yesterday", 400, "Invalid time");
    check("9999-12-31T23:59:59Z", 400, "in the future");
    check("2026-01-31T04:30:00%2B01:30", 200, "No verdict recorded at");
    // A plus that the client did not escape becomes a space.
    check("2026-01-31T04:30:00+01:30", 200, "No verdict recorded at");
}

/// Returns name and hash of the five regions of an update of a network's page.
fn regions(update: &serde_json::Value) -> [[&str; 2]; 5] {
    let regions = update["regions"].as_array().expect("a list").iter();
    let regions: Vec<_> =
        regions.map(|region| [0, 1].map(|at| region[at].as_str().expect("a text"))).collect();
    regions.try_into().expect("five regions")
}

/// Returns the number of the ten seconds that the end of a timeline is rounded to.
fn timeline_step() -> u64 {
    clock::wall_us() / 10_000_000
}

#[test]
fn live_updates_hold_only_changes() {
    let net = Net::new("net-1", 3);
    let (instance, auth, dashboard) = (fixture::instance(&[&net]), Auth::new(), DashboardRoutes::default());
    let cookie = {
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        let form = request("POST", "/login", &fields, &format!("password={PASSWORD}"));
        let reply = respond(&instance, &auth, &form).expect("a reply");
        field(&reply, "Set-Cookie").expect("a cookie").split(';').next().expect("a value").to_owned()
    };
    let live = |path: &str, fields: &[(&str, &str)]| {
        dashboard.respond(&instance, &auth, &request("GET", path, fields, "")).expect("a reply")
    };
    let own = [("Cookie", cookie.as_str())];
    let all = json(live("/live/network/net-1", &own));
    let names: Vec<_> = regions(&all).iter().map(|[name, _]| *name).collect();
    assert_eq!(names, ["verdict", "problems", "graph", "changes", "nodes"]);
    assert_eq!(all["cells"]["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(all["health"], "warning");
    let hashes: Vec<_> = regions(&all).iter().map(|[_, hash]| *hash).collect();
    // The timeline moves on every ten seconds, so an update across such a step is requested again.
    let none = loop {
        let step = timeline_step();
        let all = json(live("/live/network/net-1", &own));
        let have = regions(&all).map(|[_, hash]| hash).join(",");
        let since = all["cells"]["version"].as_str().expect("a version");
        let none = json(live(&format!("/live/network/net-1?have={have}&since={since}"), &own));
        if timeline_step() == step {
            break none;
        }
    };
    assert_eq!(none["regions"].as_array().map(Vec::len), Some(0), "{none}");
    assert_eq!(none["cells"]["rows"].as_array().map(Vec::len), Some(0));
    assert!(none["cells"]["nodes"].is_null());
    let some = json(live(&format!("/live/network/net-1?have={}", hashes[1..].join(",")), &own));
    assert_eq!(some["regions"][0][0], "verdict");

    for (path, status) in [
        ("/live/", 200),
        ("/live/network/net-1/node/node-01", 200),
        ("/live/network/x", 404),
        ("/live/network/net-1/node/x", 404),
    ] {
        assert_eq!(live(path, &own).status_code, status, "{path}");
    }
    assert_eq!(live("/live/network/net-1", &[]).status_code, 401, "a script is not redirected to the login");
}

#[test]
fn texts_are_escaped() {
    let net = Net::new("net-1", 3);
    let instance = fixture::instance(&[&net]);
    // The url of a node has `"<2>"` in it.
    for path in ["/network/net-1", "/network/net-1/node/node-02"] {
        let page = text(get(&instance, &Auth::new(), path));
        assert!(page.contains("b=&quot;&lt;2&gt;&quot;") || path.ends_with("net-1"), "{page}");
        assert!(!page.contains("<2>"));
    }
    let request = request("GET", "/login?next=%22%3E%3Cscript%3E", &[], "");
    let page = text(respond(&instance, &Auth::new(), &request).expect("a page"));
    assert!(page.contains("&quot;&gt;&lt;script&gt;") && !page.contains("<script>"));
}

#[test]
fn plain_http_shows_a_warning() {
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
fn without_a_password_the_page_explains_how_to_set_one() {
    let instance = ServedInstance::default();
    let page = get_login(&instance, &request("GET", "/login", &[], ""));
    assert_eq!(page.status_code, 403);
    let page = text(page);
    assert!(page.contains("login: false") && !page.contains("name=\"password\""));
}

#[test]
fn assets() {
    let (instance, auth) = (ServedInstance::default(), Auth::new());
    for asset in all() {
        let path = format!("/{}", asset.path);
        let file = respond(&instance, &auth, &request("GET", &path, &[], "")).expect("a file");
        assert_eq!(file.status_code, 200);
        let etag = field(&file, "ETag").expect("an ETag").to_owned();
        assert!(field(&file, "Cache-Control").is_some_and(|value| value.contains("immutable")));
        assert_eq!(text(file), asset.text);
        for elsewhere in ["url(", "//cdn", "https://"] {
            assert!(!asset.text.contains(elsewhere), "loads from another site");
        }
        let known = respond(&instance, &auth, &request("GET", &path, &[("If-None-Match", &etag)], ""));
        assert_eq!(known.map(|reply| reply.status_code), Some(304));
    }
}

#[test]
fn a_first_view_is_small() {
    let size = |reply: Response| reply.data.into_reader_and_size().1.expect("a known size");
    let fields = [("Accept-Encoding", "gzip")];
    let (instance, auth) = (ServedInstance::default(), Auth::new());
    let assets = all().map(|asset| {
        size(
            respond(&instance, &auth, &request("GET", &format!("/{}", asset.path), &fields, ""))
                .expect("a file"),
        )
    });
    let assets: usize = assets.sum();
    for (count, most) in [(5, 30_000), (64, 60_000), (300, 60_000)] {
        let net = Net::new("net-1", count);
        let page = get_with(&fixture::instance(&[&net]), &Auth::new(), "/network/net-1", &fields);
        let page = size(page);
        assert!(page + assets < most, "{count}: {page} and {assets}");
    }
}

#[test]
fn themes() {
    let instance = ServedInstance::default();
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let post = |form: &str| {
        let reply =
            respond(&instance, &Auth::new(), &request("POST", "/theme", &fields, form)).expect("a reply");
        let cookie =
            field(&reply, "Set-Cookie").and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        (reply.status_code, field(&reply, "Location").map(str::to_owned), cookie.expect("a cookie"))
    };
    for (form, to, cookie) in [
        ("theme=dark&next=/network/a?q=b", "./network/a?q=b", "distomon-theme=dark"),
        ("theme=light&next=//elsewhere", "./", "distomon-theme=light"),
        ("theme=%3Cscript%3E", "./", "distomon-theme=auto"),
    ] {
        assert_eq!(post(form), (303, Some(to.to_owned()), cookie.to_owned()));
    }
    for (cookie, expected) in
        [("distomon-theme=dark", "data-theme=\"dark\""), ("distomon-theme=x", "<html lang=\"en\">")]
    {
        let page = text(get_login(&instance, &request("GET", "/login", &[("Cookie", cookie)], "")));
        assert!(page.contains(expected), "{page}");
    }
}
