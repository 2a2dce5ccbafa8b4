"""The checks in their order. Each has the browser and the host as arguments and may return figures to print."""

import subprocess
import tempfile
import time

from host import wait
from network import calls, packets

CHECKS = {}
# Whether to write the picture in the README.
README_PICTURE = False

# Highest size of a first view, in bytes.
FIRST_VIEW_BYTES = 150_000
# Limits for busy machines; the promises are 2 s and 0.3 s.
CHANGE_S, RENDER_MS = 5, 3_000


def check(function):
    CHECKS[function.__name__] = function
    return function


def network_path(host):
    return f"/network/{host.id}"


def cell(host, one, other):
    """Returns the selector of the cell of the matrix from one node to the other."""
    names = sorted(node.name for node in host.nodes)
    return f"table.matrix tbody tr:nth-child({names.index(one.name) + 1}) td:nth-child({names.index(other.name) + 2})"


@check
def login(browser, host):
    visit = browser.visit(host.nodes[0].url).go(network_path(host))
    assert "/login?next=" in visit.page.url
    visit.is_accessible("login")
    visit.screenshot("login")
    visit.page.fill("#password", "not this one")
    visit.page.click("main form button")
    visit.wait_text("[role=alert]", "not the password")
    visit.screenshot("login-wrong")
    visit.page.fill("#password", host.password)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url(host.nodes[0].url + network_path(host))
    # Without a page to return to, the login leads to the only network.
    [cookie] = [found for found in visit.context.cookies() if found["name"].startswith("distomon_")]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"], cookie
    visit.page.click("#logout button")
    visit.page.wait_for_url("**/login")
    assert not [found for found in visit.context.cookies() if found["name"].startswith("distomon_")]
    visit.page.fill("#password", host.password)
    visit.page.click("main form button")
    visit.page.wait_for_url(host.nodes[0].url + network_path(host))
    visit.is_clean("403")


@check
def every_page(browser, host):
    """All pages in both colour schemes: accessibility, policy and headers."""
    node, other = host.nodes[0], host.nodes[1]
    pages = {"overview": "/", "network": network_path(host), "node": f"{network_path(host)}/node/{other.name}",
             "link": f"{network_path(host)}/link/{node.name}/{other.name}"}
    for scheme in ("light", "dark"):
        visit = browser.visit(node.url, color_scheme=scheme, reduced_motion="reduce").log_in(host.password)
        for name, path in pages.items():
            reply = visit.page.goto(node.url + path)
            visit.page.wait_for_selector("time[title]")
            visit.is_accessible(f"{name} {scheme}")
            visit.fits()
            visit.screenshot(f"{name}-{scheme}")
            policy = reply.headers["content-security-policy"]
            assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy, policy
            assert "unsafe" not in policy, policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "as of" in visit.text("footer")
        visit.is_clean()
    # The switch overrides the colour scheme of the system.
    visit.go("/")
    visit.page.click("#theme button[value=light]")
    visit.page.wait_for_selector("html[data-theme=light]")
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(247, 246, 243)", paper


@check
def first_view(browser, host):
    visit = browser.visit(host.nodes[0].url).log_in(host.password, "/")
    cookies = visit.context.cookies()
    cold = browser.visit(host.nodes[0].url)
    cold.context.add_cookies(cookies)
    cold.go(network_path(host))
    cold.page.wait_for_function("document.querySelector('table.matrix[role=grid]') && performance.getEntriesByType('resource').some((entry) => entry.name.includes('/live/'))")
    size, ready = cold.page.evaluate("""[
        performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0),
        performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd]""")
    assert 5_000 < size < FIRST_VIEW_BYTES, f"{size} bytes"
    assert ready < RENDER_MS, f"{ready} ms"
    return f"{size / 1000:.0f} kB in all, ready after {ready:.0f} ms"


@check
def killed_node(browser, host):
    node, victim = host.nodes[0], host.nodes[2]
    visit = browser.visit(node.url).log_in(host.password)
    page = visit.page
    page.wait_for_selector("html[data-health=ok]")
    page.wait_for_selector("table.matrix[role=grid]")
    assert page.title().startswith("✓ all 5 up"), page.title()
    good = page.get_attribute("link[rel=icon]", "href")
    stays = f"#nodes a[href$='/node/{host.nodes[1].name}']"
    page.focus(stays)
    victim.kill()
    try:
        wait("its verdict", 20, lambda: host.view(node).status(victim.name) == "down")
        decided = host.view(node).at
        visit.wait_text("#sentence", f"{victim.name} is down: 4 of 4 observers")
        took = time.monotonic() - decided
        assert took < CHANGE_S, f"{took} s"
        page.wait_for_selector(cell(host, node, victim) + ".x")
        page.wait_for_function("document.documentElement.dataset.health === 'critical' && document.title.startsWith('✕ 1 down')")
        assert page.get_attribute("link[rel=icon]", "href") != good
        visit.wait_text("#live", f"{victim.name} is down")
        visit.wait_text("#problems", "4 of 4 observers do not reach it")
        assert page.evaluate("document.activeElement.getAttribute('href')").endswith(host.nodes[1].name), "the focus has moved"
        visit.is_accessible("killed")
        visit.screenshot("killed-light")
        if README_PICTURE:
            page.set_viewport_size({"width": 1280, "height": 1200})
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            top = page.locator("h1").bounding_box()["y"] - 12
            bottom = page.locator(".timeline").bounding_box()["y"] + 150
            page.screenshot(path="packaging/dashboard.png",
                            clip={"x": 0, "y": top, "width": 1280, "height": bottom - top})
            page.set_viewport_size({"width": 1440, "height": 1000})
        page.click("#problems a.why")
        visit.wait_text("#why", "which is a quorum")
        visit.screenshot("killed-why")
        visit.go(network_path(host))
    finally:
        victim.start()
    page.wait_for_selector("html[data-health=ok]")
    visit.wait_text("#sentence", "all 5 nodes are up")
    visit.is_clean()
    return f"on the page {took:.1f} s after the verdict"


@check
def link_cut_one_way(browser, host):
    node, one, other = host.nodes[0], host.nodes[1], host.nodes[3]
    visit = browser.visit(node.url).log_in(host.password)
    page = visit.page
    page.wait_for_selector("html[data-health=ok]")
    host.network.drop(calls([one], [other]))
    try:
        page.wait_for_selector(cell(host, one, other) + ".x")
        visit.wait_text("#problems", f"{one.name} does not reach {other.name}, which reaches {one.name}")
        page.wait_for_function("document.querySelectorAll('#graph path.cut').length === 1")
        visit.wait_text("#sentence", "all 5 nodes are up, and one link does not work")
        assert page.locator("#graph a:has(path.cut) title").text_content() == f"{one.name} → {other.name}: does not work"
        assert page.locator("#graph path.cut[marker-start]").count() == 0, "expected an arrow at one end only"
        assert page.locator("table.matrix td.x").count() == 1, "expected one direction offline"
        page.hover(cell(host, one, other))
        visit.wait_text("#pair", "no answer in time")
        visit.wait_text("#pair", f"{other.name} → {one.name}")
        visit.screenshot("cut-one-way")
        page.select_option("#rows", "worst")
        first = page.locator("table.matrix tbody tr:first-child th").inner_text()
        assert first == one.name, first
        page.select_option("#columns", "worst")
        first = page.locator("table.matrix thead th:nth-child(2)").inner_text()
        assert first == other.name, first
    finally:
        host.network.drop_nothing()
    page.wait_for_selector("html[data-health=ok]")
    page.wait_for_function("document.querySelectorAll('table.matrix td.x').length === 0")
    visit.is_clean()


@check
def partition(browser, host):
    node, few, many = host.nodes[0], host.nodes[3:], host.nodes[:3]
    visit = browser.visit(node.url).log_in(host.password)
    host.network.drop(packets(few, many), packets(many, few))
    try:
        visit.wait_text("#problems", "the network is split into parts")
        visit.page.wait_for_selector("#graph svg.of-2")
        visit.is_accessible("partition")
        visit.screenshot("partition")
        # Without reports across the partition, the smaller side does not know the state of the other nodes.
        there = browser.visit(few[0].url).log_in(host.password)
        there.wait_text("#sentence", "I cannot tell about the others")
        there.page.wait_for_selector("html[data-health=unknown]")
        there.is_accessible("cut off")
        there.screenshot("cut-off")
    finally:
        host.network.drop_nothing()
    visit.page.wait_for_selector("html[data-health=ok]")
    wait("all are up again", 30, host.all_up)


@check
def keyboard(browser, host):
    node = host.nodes[0]
    visit = browser.visit(node.url)
    page = visit.page
    visit.go(network_path(host))
    page.keyboard.type(host.password)
    page.keyboard.press("Enter")
    page.wait_for_selector("table.matrix[role=grid]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if page.evaluate("Boolean(document.activeElement.closest('table.matrix'))"):
            break
    else:
        raise AssertionError(f"the Tab key did not reach the matrix: {seen}")
    assert "rows" in seen and "columns" in seen, seen
    for key in ("ArrowDown", "ArrowRight", "End"):
        page.keyboard.press(key)
    names = sorted(other.name for other in host.nodes)
    visit.wait_text("#pair", f"{names[1]} → {names[-1]}")
    # The matrix is one stop of the Tab key, with a visible focus.
    assert page.evaluate("document.querySelectorAll('table.matrix [tabindex=\"0\"]').length") == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/link/{names[1]}/{names[-1]}")
    visit.is_clean()


@check
def no_script(browser, host):
    node, other = host.nodes[0], host.nodes[1]
    visit = browser.visit(node.url, java_script_enabled=False).log_in(host.password)
    page = visit.page
    assert "all 5 nodes are up" in visit.text("#sentence")
    assert page.locator("table.matrix tbody td").count() == 25
    assert "UTC" in visit.text("#nodes")
    assert page.locator("meta[http-equiv=refresh]").count() == 1
    visit.screenshot("no-script")
    page.click(f"table.matrix tbody th a >> text={other.name}")
    visit.page.wait_for_selector("#why")
    page.click("#pairs tbody th a >> nth=0")
    assert "round trip" in visit.text("section.pair")
    page.click("#theme button[value=dark]")
    page.wait_for_selector("html[data-theme=dark]")
    assert "/link/" in page.url
    page.click(".brand")
    page.click("article.network h2 a")
    page.wait_for_selector("#matrix")
    page.click("#logout button")
    page.wait_for_selector("#password")
    visit.is_clean()


@check
def small_and_large(browser, host):
    node, other = host.nodes[0], host.nodes[1]
    for name, width, height in (("phone", 360, 740), ("tablet", 768, 1024), ("4k", 3840, 2160)):
        visit = browser.visit(node.url, viewport={"width": width, "height": height}, has_touch=width < 1000)
        visit.log_in(host.password)
        for page, path in (("overview", "/"), ("network", network_path(host)),
                           ("node", f"{network_path(host)}/node/{other.name}")):
            visit.go(path)
            visit.page.wait_for_selector("time[title]")
            visit.fits()
            visit.screenshot(f"{name}-{page}")
        if width == 360:
            visit.go(network_path(host))
            visit.page.wait_for_selector("table.matrix[role=grid]")
            visit.page.tap(cell(host, node, other))
            visit.wait_text("#pair", f"{other.name} → {node.name}")
        visit.is_clean()


@check
def node_restarts(browser, host):
    node = host.nodes[4]
    visit = browser.visit(node.url).log_in(host.password)
    page = visit.page
    page.wait_for_selector("html[data-health=ok]")
    # A hung node accepts connections without an answer.
    node.suspend()
    try:
        visit.wait_text("#stale:not([hidden])", "has not answered since")
        assert page.title().startswith("? stale"), page.title()
    finally:
        node.resume()
    page.wait_for_selector("#stale", state="hidden")
    page.wait_for_selector("html[data-health=ok]:not(.stale)")
    node.kill()
    try:
        page.wait_for_selector("#stale:not([hidden])")
        visit.wait_text("#stale", "has not answered since")
        assert page.locator("html.stale").count() == 1 and page.title().startswith("? stale"), page.title()
        assert "all 5 nodes" in visit.text("#sentence"), "the page has lost its last content"
        visit.screenshot("stale")
    finally:
        node.start()
    page.wait_for_selector("#stale", state="hidden")
    page.wait_for_selector("html[data-health=ok]:not(.stale)")
    page.wait_for_function("document.title.startsWith('✓')")
    wait("all are up again", 30, host.all_up)
    visit.is_clean("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED")


@check
def login_ends(browser, host):
    node = host.nodes[0]
    path = f"{network_path(host)}/node/{host.nodes[1].name}"
    visit = browser.visit(node.url).log_in(host.password, path)
    page = visit.page
    page.wait_for_selector("time[title]")
    visit.context.clear_cookies()
    page.wait_for_selector("#ended:not([hidden])")
    assert page.title().startswith("? stale"), f"the title of a tab in the background is still {page.title()}"
    assert page.evaluate("document.querySelector('link[rel=icon]').href.endsWith(document.body.dataset.unknownIcon)")
    visit.screenshot("ended")
    page.click("#ended a")
    visit.wait_text("main [role=status]", "Your session has expired")
    visit.screenshot("ended-login")
    page.fill("#password", host.password)
    page.click("main form button")
    page.wait_for_url(node.url + path)
    visit.is_clean("401")


@check
def signed_report(browser, host):
    """Downloads a report and verifies it with the commands on the page."""
    node, other = host.nodes[0], host.nodes[2]
    visit = browser.visit(node.url, accept_downloads=True).log_in(host.password, f"{network_path(host)}/node/{other.name}")
    page = visit.page
    with page.expect_download() as download:
        page.click("#report a[download]")
    page.click("#report summary")
    commands = page.inner_text("#report pre code")
    with tempfile.TemporaryDirectory() as place:
        download.value.save_as(f"{place}/{download.value.suggested_filename}")
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=place, capture_output=True, text=True, timeout=20)
        assert "Signature Verified Successfully" in run.stdout, f"{commands}\n{run.stdout}\n{run.stderr}"
        assert f'"node_id": "{other.name}"' in run.stdout
        # A changed payload must not verify.
        changed = commands.replace("cat payload.json; }", "tr o 0 < payload.json; }")
        assert changed != commands
        run = subprocess.run(["bash", "-c", changed], cwd=place, capture_output=True, text=True, timeout=20)
        assert "Signature Verified Successfully" not in run.stdout, "a changed payload verifies"
    # The details stay open across updates.
    number = page.inner_text("#report dd >> nth=0")
    page.wait_for_function("(number) => document.querySelector('#report dd').innerText !== number", arg=number)
    assert page.evaluate("document.querySelector('#report details').open")
    visit.is_clean()


@check
def little_known(browser, host):
    """Two networks in one instance: one without other nodes, one without other running nodes."""
    origin, password, long_name = host.start_small()

    def answers():
        done = subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9300"], capture_output=True)
        return done.returncode == 0

    wait("the instance answers", 20, answers)
    visit = browser.visit(origin, viewport={"width": 360, "height": 740}).log_in(password)
    page = visit.page
    assert page.locator("article.network").count() == 2
    visit.fits()
    visit.is_accessible("two networks")
    visit.screenshot("two-networks-phone")
    for width, name in ((360, "phone"), (1440, "wide")):
        page.set_viewport_size({"width": width, "height": 900})
        visit.go("/network/long-names")
        visit.wait_text("#verdict + .alert, .alert", "Nothing is known yet")
        page.wait_for_selector("html[data-health=unknown]")
        visit.fits()
        visit.is_accessible("nothing known")
        visit.screenshot(f"nothing-known-{name}")
        visit.go(f"/network/long-names/node/{long_name}")
        visit.fits()
        visit.screenshot(f"long-name-{name}")
        visit.go("/network/alone")
        visit.wait_text("#sentence", "this node is up, and alone")
        visit.fits()
        visit.screenshot(f"alone-{name}")
    reply = visit.page.goto(f"{origin}/network/nowhere")
    assert reply.status == 404 and "no network with this name" in visit.text("main")
    visit.screenshot("not-found")
    visit.is_clean("404")


FRAMES = """async (selector) => {
    const field = document.querySelector(selector);
    return await new Promise((done) => {
        let frames = 0;
        const begun = performance.now();
        const step = (now) => {
            frames += 1;
            field.scrollTop = (frames * 37) % Math.max(1, field.scrollHeight - field.clientHeight);
            field.scrollLeft = (frames * 23) % Math.max(1, field.scrollWidth - field.clientWidth);
            if (now - begun < 2500) requestAnimationFrame(step);
            else done(frames / (now - begun) * 1000);
        };
        requestAnimationFrame(step);
    });
}"""


def smooth(browser, page, field):
    """Returns the frames per second while the field scrolls. On a busy machine, compares them with those of an empty
    page."""
    for _ in range(4):
        frames = page.evaluate(FRAMES, field)
        if frames > 30:
            return frames
        empty = browser.chromium.new_page()
        empty.set_content("<main style='height: 300px; overflow: auto'><p style='height: 9000px'>")
        usual = empty.evaluate(FRAMES, "main")
        empty.close()
        if frames > usual * 0.6:
            return frames
    raise AssertionError(f"{frames:.0f} frames per second, {usual:.0f} of an empty page")


@check
def large_networks(browser, host):
    figures = []
    for count, field in ((16, "#matrix .box"), (64, "#matrix .matrix-canvas"), (1000, "#matrix .matrix-canvas")):
        address, password = host.start_large_network(count)
        origin = address.rsplit("/network/", 1)[0]
        visit = browser.visit(origin).log_in(password)
        page = visit.page
        page.wait_for_selector("time[title]")
        if count > 16:
            page.wait_for_selector(".matrix-canvas:not([hidden]) canvas")
            page.select_option("#zoom", "14" if count > 64 else "28")
            # Screen readers need the table.
            assert page.locator("table.matrix td").count() == (count**2 if count == 64 else 0) + (count == 64)
        page.evaluate("window.cells = 0; document.addEventListener('cells', ({ detail }) => window.cells += detail.rows.length)")
        page.locator(field).scroll_into_view_if_needed()
        frames = smooth(browser, page, field)
        assert page.evaluate("window.cells") > 0, "no cell has changed meanwhile"
        visit.is_accessible(f"{count} nodes")
        visit.fits()
        visit.screenshot(f"large-network-{count}")
        figures.append(f"{count} nodes: {frames:.0f} frames per second")
        if count > 64:
            page.focus("#matrix canvas")
            for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
                page.keyboard.press(key)
            visit.wait_text("#pair", "→")
            # The list of nodes has pages and a search.
            page.fill("#q", "node-0512")
            page.keyboard.press("Enter")
            page.wait_for_url("**q=node-0512*")
            assert page.locator("#nodes tbody tr").count() == 1
            page.locator("#nodes a", has_text="node-0512").click()
            visit.wait_text("#pairs", "ms")
        visit.is_clean()
    return "; ".join(figures)


@check
def too_many_attempts(browser, host):
    """The last check, since the node rejects logins of this address for a while afterwards."""
    node = host.nodes[3]
    visit = browser.visit(node.url).go("/login")
    page = visit.page
    for _ in range(30):
        page.fill("#password", "not this one")
        page.click("main form button")
        page.wait_for_selector("main [role=alert]")
        if page.locator("[data-retry-after]").count():
            break
    else:
        raise AssertionError("30 attempts without a limit")
    assert page.locator("main form button").is_disabled()
    first = visit.text("[data-retry-after]")
    assert "Try again in" in first, first
    visit.screenshot("login-too-many")
    page.wait_for_function("(first) => document.querySelector('[data-retry-after]').innerText !== first", arg=first)
    visit.wait_text("[data-retry-after]", "You may try again")
    assert page.locator("main form button").is_enabled()
    visit.is_clean("403", "429")
