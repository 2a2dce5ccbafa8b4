"""The browser, and the checks of every page: no resources of other origins, no violation of the policy, no message on
the console, no barrier to accessibility."""

import importlib.resources
import json
from urllib.parse import urlsplit

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--no-first-run"]
AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()
TIMEOUT_MS = 20_000

# The page records violations of its policy.
WATCH_POLICY = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation",
        (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Browser:
    def __init__(self, playwright, directory):
        self.directory = directory
        self.chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        self.contexts = []
        self.visits = []

    def close(self):
        self.chromium.close()

    def visit(self, origin, **options):
        """Opens a page without cookies of earlier visits."""
        options.setdefault("viewport", {"width": 1440, "height": 1000})
        context = self.chromium.new_context(**options)
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(WATCH_POLICY)
        self.contexts.append(context)
        visit = Visit(self, context, origin, has_scripts=options.get("java_script_enabled", True))
        self.visits.append(visit)
        return visit

    def screenshot_all(self, name):
        for number, visit in enumerate(self.visits):
            try:
                visit.screenshot(f"{name}-{number}")
            except Exception as error:  # the page may be closed
                print(f"no screenshot of {name}: {error}")

    def close_pages(self):
        for context in self.contexts:
            context.close()
        self.contexts, self.visits = [], []


class Visit:
    def __init__(self, browser, context, origin, has_scripts):
        self.browser, self.context, self.origin, self.has_scripts = browser, context, origin, has_scripts
        self.page = context.new_page()
        self.console, self.other_origins = [], []
        self.page.on("console", lambda message: self.console.append(message.text)
                     if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.console.append(f"page: {error}"))
        self.page.on("request", self.check_origin)

    def check_origin(self, request):
        address = urlsplit(request.url)
        if f"{address.scheme}://{address.netloc}" != self.origin:
            self.other_origins.append(request.url)

    def go(self, path):
        self.page.goto(self.origin + path)
        return self

    def log_in(self, password, path="/"):
        self.go(path)
        self.page.fill("#password", password)
        self.page.click("main form button")
        self.page.wait_for_selector("#logout")
        return self

    def screenshot(self, name, whole=True):
        self.page.screenshot(path=self.browser.directory / f"{name}.png", full_page=whole)

    def text(self, selector):
        return self.page.inner_text(selector)

    def wait_text(self, selector, part):
        self.page.wait_for_function("([selector, part]) => document.querySelector(selector)?.innerText.includes(part)",
                                    arg=[selector, part])

    def fits(self):
        wide, room = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, f"the page is {wide} px wide in a window of {room} px"

    def is_accessible(self, name):
        """Checks that axe finds no barrier."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations"
                                   ".map((found) => [found.id, found.help, found.nodes.slice(0, 3).map((node) => "
                                   "`${node.html.slice(0, 200)} ${node.failureSummary}`)]))")
        assert not found, f"{name}: {json.dumps(found, indent=1)}"

    def is_clean(self, *expected):
        """Checks that the page loads nothing from other origins, violates no policy and logs only `expected` messages."""
        assert not self.other_origins, f"loaded from other origins: {self.other_origins}"
        noise = [text for text in self.console if not any(part in text for part in expected)]
        assert not noise, f"messages on the console: {noise}"
        if self.has_scripts:
            broken = self.page.evaluate("window.violations")
            assert not broken, f"violations of the policy: {broken}"
