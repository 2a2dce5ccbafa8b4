//! The pages: who sees them, that they are closed up, and that nothing on them is anybody else's markup.

use super::*;
use crate::server::fixture::{self, Net, PASSWORD, field, json, request, request_from, text};

fn answer(instance: &ServedInstance, login: &Auth, request: &Request) -> Option<Response> {
    Dashboard::default().answer(instance, login, request)
}

/// Gets a page as someone who is logged in.
fn get(instance: &ServedInstance, login: &Auth, path: &str) -> Response {
    get_with(instance, login, path, &[])
}

fn get_with(instance: &ServedInstance, login: &Auth, path: &str, more: &[(&str, &str)]) -> Response {
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = request("POST", "/login", &fields, &format!("password={PASSWORD}"));
    let reply = answer(instance, login, &form).expect("a reply");
    let cookie =
        field(&reply, "Set-Cookie").expect("a cookie").split(';').next().expect("a value").to_owned();
    let fields: Vec<_> = more.iter().copied().chain([("Cookie", cookie.as_str())]).collect();
    answer(instance, login, &request("GET", path, &fields, "")).expect("a page")
}

#[test]
fn who_is_not_logged_in_is_led_to_the_login() {
    let net = Net::new("net-1", 2);
    let (instance, login) = (fixture::instance(&[&net]), Auth::new());
    for (path, location) in [
        ("/", "./login"),
        ("/network/net-1", "../login?next=/network/net-1"),
        ("/network/elsewhere", "../login?next=/network/elsewhere"),
        ("/network/a/b", "../../login?next=/network/a/b"),
        ("/network/n/node/a?at=5", "../../../login?next=/network/n/node/a%3Fat%3D5"),
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
    let (instance, login) = (fixture::instance(&[&one, &two]), Auth::new());
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
        let page = get(&instance, &login, path);
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
        // What the policy would block is not there in the first place.
        for bad in ["<script>", " style=", "<style", " onclick", "http://", "https://", "//"] {
            let found = text.replace("http://10.0.0.", "").contains(bad);
            assert!(!found, "{path}: {bad}");
        }
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
fn a_login_leads_to_the_only_network() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let check = |nets: &[&Net], next: &str, location: &str| {
        let form = request("POST", "/login", &fields, &format!("password={PASSWORD}{next}"));
        let reply = answer(&fixture::instance(nets), &Auth::new(), &form).expect("a reply");
        assert_eq!(field(&reply, "Location"), Some(location));
    };
    check(&[&one], "", "./network/net-1");
    check(&[&one, &two], "", "./");
    check(&[&one], "&next=/network/net-1/node/node-01", "./network/net-1/node/node-01");
    check(&[&one], "&next=//elsewhere", "./network/net-1");
}

#[test]
fn networks_of_an_instance() {
    let (one, two) = (Net::new("net-1", 3), Net::new("net-2", 2));
    let login = Auth::new();
    let both = fixture::instance(&[&one, &two]);
    let page = text(get(&both, &login, "/"));
    assert!(page.contains("href=\"./network/net-1\"") && page.contains("href=\"./network/net-2\""));
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""));
    let page = text(get(&both, &login, "/network/net-2"));
    assert!(page.contains("class=\"brand\" href=\"../\""));
    let request = request("GET", "/network/net-2", &[], "");
    let place = Place::at("/network/net-2").expect("a page");
    let viewer = Viewer::of(&[&one.id]);
    let page = Dashboard::default().get_page(&both, &place, "/network/net-2", &viewer, &request);
    assert_eq!(page.status_code, 403);
    assert!(!text(page).contains("node-01"));
    let live = Dashboard::default().get_live(&both, &place, "/network/net-2", &viewer, &request);
    assert_eq!(live.status_code, 403);
}

#[test]
fn the_picture_is_on_the_page() {
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
fn a_node_that_has_stopped_to_judge_says_so_without_scripts_as_well() {
    let net = Net::new("net-1", 3);
    let sheet = overview::sheet(&[net.busy_node().snapshot()], "./");
    let to = request("GET", "/", &[], "");
    let page = |stuck| {
        let page = Page::new(&ServedInstance::default(), &to, "title".to_owned()).of(&sheet).stuck(stuck);
        text(page.response(&to, &html! {}))
    };
    let told = [
        "<title>? stale – ",
        "class=\"stale\"",
        "role=\"alert\">This node answers, but has stopped to judge",
    ];
    for part in told {
        assert!(page(true).contains(part) && !page(false).contains(part), "{part} in {}", page(true));
    }
}

#[test]
fn a_time_that_is_none_is_not_taken_for_now() {
    let net = Net::new("net-1", 3);
    let instance = fixture::instance(&[&net]);
    let check = |at: &str, status: u16, part: &str| {
        let page = get(&instance, &Auth::new(), &format!("/network/net-1/node/node-01?at={at}"));
        assert_eq!(page.status_code, status, "{at}");
        assert!(text(page).contains(part), "{at}: {part}");
    };
    check("yesterday", 400, "No such time");
    check("9999-12-31T23:59:59Z", 400, "in the future");
    check("2026-01-31T04:30:00%2B01:30", 200, "Nothing is kept of");
    // A plus that became a blank.
    check("2026-01-31T04:30:00+01:30", 200, "Nothing is kept of");
}

#[test]
fn what_an_old_report_says_is_told_as_such() {
    let net = Net::new("net-1", 3);
    let snapshot = net.busy_node().snapshot();
    let heard_ms = snapshot.states()[1].created_ms;
    let page = |mono_ms| {
        let now = Timestamps { mono_ms, ..fixture::now() };
        node::sheet(&snapshot, 1, "./", None, &html! {}, now).body().into_string()
    };
    assert!(!page(heard_ms).contains("by an old report"));
    // Of what node-01 found of node-00 and node-02; what this node finds is never old.
    assert_eq!(page(heard_ms + 600_000).matches("by an old report").count(), 2);
}

#[test]
fn what_has_changed_is_told_and_nothing_else() {
    let net = Net::new("net-1", 3);
    let (instance, login, dashboard) = (fixture::instance(&[&net]), Auth::new(), Dashboard::default());
    let cookie = {
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        let form = request("POST", "/login", &fields, &format!("password={PASSWORD}"));
        let reply = answer(&instance, &login, &form).expect("a reply");
        field(&reply, "Set-Cookie").expect("a cookie").split(';').next().expect("a value").to_owned()
    };
    let live = |path: &str, fields: &[(&str, &str)]| {
        dashboard.answer(&instance, &login, &request("GET", path, fields, "")).expect("a reply")
    };
    let own = [("Cookie", cookie.as_str())];
    let all = json(live("/live/network/net-1", &own));
    let regions = all["regions"].as_array().expect("a list");
    let names: Vec<_> = regions.iter().filter_map(|region| region[0].as_str()).collect();
    assert_eq!(names, ["verdict", "problems", "graph", "changes", "nodes"]);
    assert_eq!(all["cells"]["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(all["state"], "warn");
    let hashes: Vec<_> = regions.iter().filter_map(|region| region[1].as_str()).collect();
    let have = hashes.join(",");
    let since = all["cells"]["frame"].as_str().expect("a frame");
    let none = json(live(&format!("/live/network/net-1?have={have}&since={since}"), &own));
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
    assert_eq!(live("/live/network/net-1", &[]).status_code, 401, "a script is not led to the login");
}

#[test]
fn nothing_is_taken_for_markup() {
    let net = Net::new("net-1", 3);
    let instance = fixture::instance(&[&net]);
    // The url of a node holds `"<2>"`.
    for path in ["/network/net-1", "/network/net-1/node/node-02"] {
        let page = text(get(&instance, &Auth::new(), path));
        assert!(page.contains("b=&quot;&lt;2&gt;&quot;") || path.ends_with("net-1"), "{page}");
        assert!(!page.contains("<2>"));
    }
    let request = request("GET", "/login?next=%22%3E%3Cscript%3E", &[], "");
    let page = text(answer(&instance, &Auth::new(), &request).expect("a page"));
    assert!(page.contains("&quot;&gt;&lt;script&gt;") && !page.contains("<script>"));
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
    let instance = ServedInstance::default();
    let page = get_login(&instance, &request("GET", "/login", &[], ""));
    assert_eq!(page.status_code, 403);
    let page = text(page);
    assert!(page.contains("login: false") && !page.contains("name=\"password\""));
}

#[test]
fn files_of_the_pages() {
    let (instance, login) = (ServedInstance::default(), Auth::new());
    for asset in assets::each() {
        let path = format!("/{}", asset.path);
        let file = answer(&instance, &login, &request("GET", &path, &[], "")).expect("a file");
        assert_eq!(file.status_code, 200);
        let etag = field(&file, "ETag").expect("an ETag").to_owned();
        assert!(field(&file, "Cache-Control").is_some_and(|value| value.contains("immutable")));
        assert_eq!(text(file), asset.text());
        for elsewhere in ["url(", "//cdn", "https://"] {
            assert!(!asset.text().contains(elsewhere), "nothing is loaded from elsewhere");
        }
        let known = answer(&instance, &login, &request("GET", &path, &[("If-None-Match", &etag)], ""));
        assert_eq!(known.map(|reply| reply.status_code), Some(304));
    }
}

#[test]
fn a_first_view_is_small() {
    let size = |reply: Response| reply.data.into_reader_and_size().1.expect("a known size");
    let fields = [("Accept-Encoding", "gzip")];
    let (instance, login) = (ServedInstance::default(), Auth::new());
    let assets = assets::each().into_iter().map(|asset| {
        size(
            answer(&instance, &login, &request("GET", &format!("/{}", asset.path), &fields, ""))
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
fn each_report_and_probe_counts_once_in_the_last_hour() {
    let net = Net::new("net-1", 3);
    let snapshot = net.busy_node().snapshot();
    let mut trends = crate::store::trends::Trends::default();
    let check = |trends: &crate::store::trends::Trends, id: &str, source: Source, expected: &[(u32, u32)]| {
        let found: Vec<_> =
            trends.of(id, source).iter().map(|minute| (minute.answered, minute.failed)).collect();
        assert_eq!(found, expected, "{id} {source:?}");
    };
    for _ in 0..2 {
        trends.record(&snapshot);
        check(&trends, "node-00", Source::Everyone, &[(1, 0)]);
        check(&trends, "node-00", Source::Here, &[]);
        check(&trends, "node-01", Source::Everyone, &[(1, 0)]);
        // Probed every 2.5 s for 20 s, and each probe counts.
        check(&trends, "node-01", Source::Here, &[(8, 0)]);
        check(&trends, "node-02", Source::Everyone, &[(0, 2)]);
        check(&trends, "node-02", Source::Here, &[(0, 2)]);
    }
    // Who is no member any more is forgotten.
    trends.record(&Net::new("net-1", 2).busy_node().snapshot());
    check(&trends, "node-02", Source::Everyone, &[]);
}

#[test]
fn light_and_dark() {
    let instance = ServedInstance::default();
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let post = |form: &str| {
        let reply =
            answer(&instance, &Auth::new(), &request("POST", "/theme", &fields, form)).expect("a reply");
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
