"""What is checked, in this order: each takes the browser and the host, and gives figures to be told, if any."""

import subprocess
import tempfile
import time

from host import wait
from network import calls, packets

CHECKS = {}
# Whether the picture that README shows is to be made.
PICTURE = False

# The most that a first view may weigh, in bytes.
FIRST_VIEW = 150_000
# What a loaded machine may take at most where the promise is 2 s, and 0.3 s.
CHANGE_S, RENDER_MS = 5, 3_000


def check(function):
    CHECKS[function.__name__] = function
    return function


def network_path(host):
    return f"/network/{host.id}"


def cell(host, one, other):
    """The class of the matrix' cell from one node to the other, as a script sees it."""
    names = sorted(node.name for node in host.nodes)
    return f"table.matrix tbody tr:nth-child({names.index(one.name) + 1}) td:nth-child({names.index(other.name) + 2})"


@check
def login(browser, host):
    look = browser.look(host.nodes[0].url).go(network_path(host))
    assert "/login?next=" in look.page.url
    look.shuts_nobody_out("login")
    look.shoot("login")
    look.page.fill("#password", "not this one")
    look.page.click("main form button")
    look.wait_text("[role=alert]", "not the password")
    look.shoot("login-wrong")
    look.page.fill("#password", host.password)
    look.page.keyboard.press("Enter")
    look.page.wait_for_url(host.nodes[0].url + network_path(host))
    # A login for nothing else leads to the only network.
    [cookie] = [found for found in look.context.cookies() if found["name"].startswith("distomon_")]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"], cookie
    look.page.click("#logout button")
    look.page.wait_for_url("**/login")
    assert not [found for found in look.context.cookies() if found["name"].startswith("distomon_")]
    look.page.fill("#password", host.password)
    look.page.click("main form button")
    look.page.wait_for_url(host.nodes[0].url + network_path(host))
    look.is_clean("403")


@check
def every_page(browser, host):
    """All pages in both colours, without barriers; their policy and headers."""
    node, other = host.nodes[0], host.nodes[1]
    pages = {"overview": "/", "network": network_path(host), "node": f"{network_path(host)}/node/{other.name}",
             "link": f"{network_path(host)}/link/{node.name}/{other.name}"}
    for scheme in ("light", "dark"):
        look = browser.look(node.url, color_scheme=scheme, reduced_motion="reduce").log_in(host.password)
        for name, path in pages.items():
            reply = look.page.goto(node.url + path)
            look.page.wait_for_selector("time[title]")
            look.shuts_nobody_out(f"{name} {scheme}")
            look.fits()
            look.shoot(f"{name}-{scheme}")
            policy = reply.headers["content-security-policy"]
            assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy, policy
            assert "unsafe" not in policy, policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "as of" in look.text("footer")
        look.is_clean()
    # The switch overrules the system.
    look.go("/")
    look.page.click("#theme button[value=light]")
    look.page.wait_for_selector("html[data-theme=light]")
    paper = look.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(247, 246, 243)", paper


@check
def first_view(browser, host):
    look = browser.look(host.nodes[0].url).log_in(host.password, "/")
    cookies = look.context.cookies()
    cold = browser.look(host.nodes[0].url)
    cold.context.add_cookies(cookies)
    cold.go(network_path(host))
    cold.page.wait_for_function("document.querySelector('table.matrix[role=grid]') && performance.getEntriesByType('resource').some((entry) => entry.name.includes('/live/'))")
    size, ready = cold.page.evaluate("""[
        performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0),
        performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd]""")
    assert 5_000 < size < FIRST_VIEW, f"{size} bytes"
    assert ready < RENDER_MS, f"{ready} ms"
    return f"{size / 1000:.0f} kB in all, ready after {ready:.0f} ms"


@check
def killed_node(browser, host):
    node, victim = host.nodes[0], host.nodes[2]
    look = browser.look(node.url).log_in(host.password)
    page = look.page
    page.wait_for_selector("html[data-state=good]")
    page.wait_for_selector("table.matrix[role=grid]")
    assert page.title().startswith("✓ all 5 up"), page.title()
    good = page.get_attribute("link[rel=icon]", "href")
    stays = f"#nodes a[href$='/node/{host.nodes[1].name}']"
    page.focus(stays)
    victim.kill()
    try:
        wait("its verdict", 20, lambda: host.view(node).status(victim.name) == "down")
        decided = host.view(node).at
        look.wait_text("#sentence", f"{victim.name} is down: 4 of 4 observers")
        took = time.monotonic() - decided
        assert took < CHANGE_S, f"{took} s"
        page.wait_for_selector(cell(host, node, victim) + ".x")
        page.wait_for_function("document.documentElement.dataset.state === 'bad' && document.title.startsWith('✕ 1 down')")
        assert page.get_attribute("link[rel=icon]", "href") != good
        look.wait_text("#live", f"{victim.name} is down")
        look.wait_text("#problems", "4 of 4 observers do not reach it")
        assert page.evaluate("document.activeElement.getAttribute('href')").endswith(host.nodes[1].name), "the focus has gone"
        look.shuts_nobody_out("killed")
        look.shoot("killed-light")
        if PICTURE:
            page.set_viewport_size({"width": 1280, "height": 1200})
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            top = page.locator("h1").bounding_box()["y"] - 12
            bottom = page.locator(".lanes").bounding_box()["y"] + 150
            page.screenshot(path="packaging/dashboard.png",
                            clip={"x": 0, "y": top, "width": 1280, "height": bottom - top})
            page.set_viewport_size({"width": 1440, "height": 1000})
        page.click("#problems a.why")
        look.wait_text("#why", "which is a quorum")
        look.shoot("killed-why")
        look.go(network_path(host))
    finally:
        victim.start()
    page.wait_for_selector("html[data-state=good]")
    look.wait_text("#sentence", "all 5 nodes are up")
    look.is_clean()
    return f"on the page {took:.1f} s after the verdict"


@check
def link_cut_one_way(browser, host):
    node, one, other = host.nodes[0], host.nodes[1], host.nodes[3]
    look = browser.look(node.url).log_in(host.password)
    page = look.page
    page.wait_for_selector("html[data-state=good]")
    host.network.drop(calls([one], [other]))
    try:
        page.wait_for_selector(cell(host, one, other) + ".x")
        look.wait_text("#problems", f"{one.name} does not reach {other.name}, which reaches {one.name}")
        page.wait_for_function("document.querySelectorAll('#graph path.cut').length === 1")
        look.wait_text("#sentence", "all 5 nodes are up, and one link does not work")
        assert page.locator("#graph a:has(path.cut) title").text_content() == f"{one.name} → {other.name}: does not work"
        assert page.locator("#graph path.cut[marker-start]").count() == 0, "an arrow at one end only"
        assert page.locator("table.matrix td.x").count() == 1, "one direction alone is offline"
        page.hover(cell(host, one, other))
        look.wait_text("#pair", "no answer in time")
        look.wait_text("#pair", f"{other.name} → {one.name}")
        look.shoot("cut-one-way")
        page.select_option("#rows", "worst")
        first = page.locator("table.matrix tbody tr:first-child th").inner_text()
        assert first == one.name, first
        page.select_option("#columns", "worst")
        first = page.locator("table.matrix thead th:nth-child(2)").inner_text()
        assert first == other.name, first
    finally:
        host.network.drop_nothing()
    page.wait_for_selector("html[data-state=good]")
    assert page.locator("table.matrix td.x").count() == 0
    look.is_clean()


@check
def partition(browser, host):
    node, few, many = host.nodes[0], host.nodes[3:], host.nodes[:3]
    look = browser.look(node.url).log_in(host.password)
    host.network.drop(packets(few, many), packets(many, few))
    try:
        look.wait_text("#problems", "the network has fallen into parts")
        look.page.wait_for_selector("#graph svg.of-2")
        look.shuts_nobody_out("partition")
        look.shoot("partition")
        # Between them no report passes: the other side says that it cannot tell.
        there = browser.look(few[0].url).log_in(host.password)
        there.wait_text("#sentence", "I cannot tell about the others")
        there.page.wait_for_selector("html[data-state=blind]")
        there.shuts_nobody_out("cut off")
        there.shoot("cut-off")
    finally:
        host.network.drop_nothing()
    look.page.wait_for_selector("html[data-state=good]")
    wait("all are up again", 30, host.all_up)


@check
def keyboard(browser, host):
    node = host.nodes[0]
    look = browser.look(node.url)
    page = look.page
    look.go(network_path(host))
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
        raise AssertionError(f"the matrix was not reached: {seen}")
    assert "rows" in seen and "columns" in seen, seen
    for key in ("ArrowDown", "ArrowRight", "End"):
        page.keyboard.press(key)
    names = sorted(other.name for other in host.nodes)
    look.wait_text("#pair", f"{names[1]} → {names[-1]}")
    # One stop for the whole matrix, and the focus can be seen.
    assert page.evaluate("document.querySelectorAll('table.matrix [tabindex=\"0\"]').length") == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/link/{names[1]}/{names[-1]}")
    look.is_clean()


@check
def no_script(browser, host):
    node, other = host.nodes[0], host.nodes[1]
    look = browser.look(node.url, java_script_enabled=False).log_in(host.password)
    page = look.page
    assert "all 5 nodes are up" in look.text("#sentence")
    assert page.locator("table.matrix tbody td").count() == 25
    assert "UTC" in look.text("#nodes")
    assert page.locator("meta[http-equiv=refresh]").count() == 1
    look.shoot("no-script")
    page.click(f"table.matrix tbody th a >> text={other.name}")
    look.page.wait_for_selector("#why")
    page.click("#pairs tbody th a >> nth=0")
    assert "round trip" in look.text("section.pair")
    page.click("#theme button[value=dark]")
    page.wait_for_selector("html[data-theme=dark]")
    assert "/link/" in page.url
    page.click(".brand")
    page.click("article.network h2 a")
    page.wait_for_selector("#matrix")
    page.click("#logout button")
    page.wait_for_selector("#password")
    look.is_clean()


@check
def small_and_large(browser, host):
    node, other = host.nodes[0], host.nodes[1]
    for name, width, height in (("phone", 360, 740), ("tablet", 768, 1024), ("4k", 3840, 2160)):
        look = browser.look(node.url, viewport={"width": width, "height": height}, has_touch=width < 1000)
        look.log_in(host.password)
        for page, path in (("overview", "/"), ("network", network_path(host)),
                           ("node", f"{network_path(host)}/node/{other.name}")):
            look.go(path)
            look.page.wait_for_selector("time[title]")
            look.fits()
            look.shoot(f"{name}-{page}")
        if width == 360:
            look.go(network_path(host))
            look.page.wait_for_selector("table.matrix[role=grid]")
            look.page.tap(cell(host, node, other))
            look.wait_text("#pair", f"{other.name} → {node.name}")
        look.is_clean()


@check
def node_restarts(browser, host):
    node = host.nodes[4]
    look = browser.look(node.url).log_in(host.password)
    page = look.page
    page.wait_for_selector("html[data-state=good]")
    # A node that hangs refuses nothing, and answers nothing.
    node.stop()
    try:
        look.wait_text("#stale:not([hidden])", "has not answered since")
        assert page.title().startswith("? stale"), page.title()
    finally:
        node.resume()
    page.wait_for_selector("#stale", state="hidden")
    page.wait_for_selector("html[data-state=good]:not(.stale)")
    node.kill()
    try:
        page.wait_for_selector("#stale:not([hidden])")
        look.wait_text("#stale", "has not answered since")
        assert page.locator("html.stale").count() == 1 and page.title().startswith("? stale"), page.title()
        assert "all 5 nodes" in look.text("#sentence"), "the last picture stays"
        look.shoot("stale")
    finally:
        node.start()
    page.wait_for_selector("#stale", state="hidden")
    page.wait_for_selector("html[data-state=good]:not(.stale)")
    assert page.title().startswith("✓"), page.title()
    wait("all are up again", 30, host.all_up)
    look.is_clean("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED")


@check
def login_ends(browser, host):
    node = host.nodes[0]
    path = f"{network_path(host)}/node/{host.nodes[1].name}"
    look = browser.look(node.url).log_in(host.password, path)
    page = look.page
    page.wait_for_selector("time[title]")
    look.context.clear_cookies()
    page.wait_for_selector("#ended:not([hidden])")
    assert page.title().startswith("? stale"), f"a tab in the background would still say {page.title()}"
    assert page.evaluate("document.querySelector('link[rel=icon]').href.endsWith(document.body.dataset.blindIcon)")
    look.shoot("ended")
    page.click("#ended a")
    look.wait_text("main [role=status]", "Your login has ended")
    look.shoot("ended-login")
    page.fill("#password", host.password)
    page.click("main form button")
    page.wait_for_url(node.url + path)
    look.is_clean("401")


@check
def signed_report(browser, host):
    """The report is taken home, and checked by the very commands that the page shows."""
    node, other = host.nodes[0], host.nodes[2]
    look = browser.look(node.url, accept_downloads=True).log_in(host.password, f"{network_path(host)}/node/{other.name}")
    page = look.page
    with page.expect_download() as download:
        page.click("#report a[download]")
    page.click("#report summary")
    commands = page.inner_text("#report pre code")
    with tempfile.TemporaryDirectory() as place:
        download.value.save_as(f"{place}/{download.value.suggested_filename}")
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=place, capture_output=True, text=True, timeout=20)
        assert "Signature Verified Successfully" in run.stdout, f"{commands}\n{run.stdout}\n{run.stderr}"
        assert f'"node_id": "{other.name}"' in run.stdout
        # One byte that is another.
        changed = commands.replace("cat payload.json; }", "tr o 0 < payload.json; }")
        assert changed != commands
        run = subprocess.run(["bash", "-c", changed], cwd=place, capture_output=True, text=True, timeout=20)
        assert "Signature Verified Successfully" not in run.stdout, "anything verifies"
    # It stays open, while reports come.
    number = page.inner_text("#report dd >> nth=0")
    page.wait_for_function("(number) => document.querySelector('#report dd').innerText !== number", arg=number)
    assert page.evaluate("document.querySelector('#report details').open")
    look.is_clean()


@check
def little_known(browser, host):
    """Two networks in one instance, of which one has nobody else, and of the other nobody else runs."""
    origin, password, long_name = host.start_small()

    def answers():
        done = subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9300"], capture_output=True)
        return done.returncode == 0

    wait("it answers", 20, answers)
    look = browser.look(origin, viewport={"width": 360, "height": 740}).log_in(password)
    page = look.page
    assert page.locator("article.network").count() == 2
    look.fits()
    look.shuts_nobody_out("two networks")
    look.shoot("two-networks-phone")
    for width, name in ((360, "phone"), (1440, "wide")):
        page.set_viewport_size({"width": width, "height": 900})
        look.go("/network/long-names")
        look.wait_text("#verdict + .alert, .alert", "Nothing is known yet")
        page.wait_for_selector("html[data-state=blind]")
        look.fits()
        look.shuts_nobody_out("nothing known")
        look.shoot(f"nothing-known-{name}")
        look.go(f"/network/long-names/node/{long_name}")
        look.fits()
        look.shoot(f"long-name-{name}")
        look.go("/network/alone")
        assert "this node is up, and alone" in look.text("#sentence")
        look.fits()
        look.shoot(f"alone-{name}")
    reply = look.page.goto(f"{origin}/network/nowhere")
    assert reply.status == 404 and "no network of this name" in look.text("main")
    look.shoot("not-found")
    look.is_clean("404")


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
    """Frames a second while it is scrolled. A machine that is busy with something else shows few of any page, so
    what counts then is an empty page beside it."""
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
    raise AssertionError(f"{frames:.0f} frames a second, where an empty page has {usual:.0f}")


@check
def large_networks(browser, host):
    figures = []
    for count, field in ((16, "#matrix .box"), (64, "#matrix .field"), (1000, "#matrix .field")):
        address, password = host.start_large_network(count)
        origin = address.rsplit("/network/", 1)[0]
        look = browser.look(origin).log_in(password)
        page = look.page
        page.wait_for_selector("time[title]")
        if count > 16:
            page.wait_for_selector(".field:not([hidden]) canvas")
            page.select_option("#zoom", "14" if count > 64 else "28")
            # The table is still there for those who hear it.
            assert page.locator("table.matrix td").count() == (count**2 if count == 64 else 0) + (count == 64)
        page.evaluate("window.cells = 0; document.addEventListener('cells', ({ detail }) => window.cells += detail.rows.length)")
        page.locator(field).scroll_into_view_if_needed()
        frames = smooth(browser, page, field)
        assert page.evaluate("window.cells") > 0, "nothing was updated meanwhile"
        look.shuts_nobody_out(f"{count} nodes")
        look.fits()
        look.shoot(f"large-network-{count}")
        figures.append(f"{count} nodes: {frames:.0f} frames a second")
        if count > 64:
            page.focus("#matrix canvas")
            for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
                page.keyboard.press(key)
            look.wait_text("#pair", "→")
            # The list of nodes goes by pages, and can be searched.
            page.fill("#q", "node-0512")
            page.keyboard.press("Enter")
            page.wait_for_url("**q=node-0512*")
            assert page.locator("#nodes tbody tr").count() == 1
            page.locator("#nodes a", has_text="node-0512").click()
            look.wait_text("#pairs", "ms")
        look.is_clean()
    return "; ".join(figures)


@check
def too_many_attempts(browser, host):
    """Last, since this address may then not log in at that node for a while."""
    node = host.nodes[3]
    look = browser.look(node.url).go("/login")
    page = look.page
    for _ in range(30):
        page.fill("#password", "not this one")
        page.click("main form button")
        page.wait_for_selector("main [role=alert]")
        if page.locator("[data-retry-after]").count():
            break
    else:
        raise AssertionError("30 attempts, and none was one too many")
    assert page.locator("main form button").is_disabled()
    first = look.text("[data-retry-after]")
    assert "Try again in" in first, first
    look.shoot("login-too-many")
    page.wait_for_function("(first) => document.querySelector('[data-retry-after]').innerText !== first", arg=first)
    look.wait_text("[data-retry-after]", "You may try again")
    assert page.locator("main form button").is_enabled()
    look.is_clean("403", "429")
