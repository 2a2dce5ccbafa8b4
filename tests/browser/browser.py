"""The browser, and what is asked of every page: that nothing is loaded from elsewhere, that its policy is kept, that
the console stays silent, and that nobody is shut out."""

import importlib.resources
import json
from urllib.parse import urlsplit

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--no-first-run"]
AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()
PATIENCE_MS = 20_000

# What the policy of a page forbids is kept by the page itself.
WATCH_POLICY = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation",
        (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Browser:
    def __init__(self, playwright, place):
        self.place = place
        self.chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        self.contexts = []
        self.looks = []

    def close(self):
        self.chromium.close()

    def look(self, origin, **options):
        """Somebody new, with a page."""
        options.setdefault("viewport", {"width": 1440, "height": 1000})
        context = self.chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(WATCH_POLICY)
        self.contexts.append(context)
        look = Look(self, context, origin, has_scripts=options.get("java_script_enabled", True))
        self.looks.append(look)
        return look

    def shoot_all(self, name):
        for number, look in enumerate(self.looks):
            try:
                look.shoot(f"{name}-{number}")
            except Exception as error:  # the page may be gone: the failure itself is told
                print(f"no picture of {name}: {error}")

    def close_pages(self):
        for context in self.contexts:
            context.close()
        self.contexts, self.looks = [], []


class Look:
    def __init__(self, browser, context, origin, has_scripts):
        self.browser, self.context, self.origin, self.has_scripts = browser, context, origin, has_scripts
        self.page = context.new_page()
        self.console, self.elsewhere = [], []
        self.page.on("console", lambda message: self.console.append(message.text)
                     if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.console.append(f"page: {error}"))
        self.page.on("request", self.heed)

    def heed(self, request):
        address = urlsplit(request.url)
        if f"{address.scheme}://{address.netloc}" != self.origin:
            self.elsewhere.append(request.url)

    def go(self, path):
        self.page.goto(self.origin + path)
        return self

    def log_in(self, password, path="/"):
        self.go(path)
        self.page.fill("#password", password)
        self.page.click("main form button")
        self.page.wait_for_selector("#logout")
        return self

    def shoot(self, name, whole=True):
        self.page.screenshot(path=self.browser.place / f"{name}.png", full_page=whole)

    def text(self, selector):
        return self.page.inner_text(selector)

    def wait_text(self, selector, part):
        self.page.wait_for_function("([selector, part]) => document.querySelector(selector)?.innerText.includes(part)",
                                    arg=[selector, part])

    def fits(self):
        wide, room = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, f"the page is {wide} px wide, in {room}"

    def shuts_nobody_out(self, name):
        """No barrier that axe finds."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations"
                                   ".map((found) => [found.id, found.help, found.nodes.slice(0, 3).map((node) => "
                                   "`${node.html.slice(0, 200)} ${node.failureSummary}`)]))")
        assert not found, f"{name}: {json.dumps(found, indent=1)}"

    def is_clean(self, *expected):
        """Nothing was loaded from elsewhere, the policy was kept, and the console said only what was `expected`."""
        assert not self.elsewhere, f"loaded from elsewhere: {self.elsewhere}"
        noise = [text for text in self.console if not any(part in text for part in expected)]
        assert not noise, f"the console says: {noise}"
        if self.has_scripts:
            broken = self.page.evaluate("window.violations")
            assert not broken, f"against the policy: {broken}"
