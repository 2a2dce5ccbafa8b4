"""The dashboard in a real browser. tests/browser/run calls this with both programs and its arguments."""

import os
import pathlib
import shutil
import signal
import sys
import traceback

import checks
from browser import Browser
from host import Host
from namespace import NotPermitted
from playwright.sync_api import sync_playwright

SKIPPED = 77


def main(program, large_network, target, arguments):
    # SIGTERM of `timeout` raises an exception, which stops all processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/browser: stopped"))
    checks.README_PICTURE = "--picture" in arguments
    chosen = [word for word in arguments if word != "--picture"] or list(checks.CHECKS)
    unknown = [word for word in chosen if word not in checks.CHECKS]
    if unknown:
        print(f"tests/browser/run: unknown check {unknown[0]}: expected some of: {' '.join(checks.CHECKS)}")
        return 64
    directory = pathlib.Path(target).absolute() / "browser"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        host = Host(os.path.abspath(program), os.path.abspath(large_network), directory)
    except NotPermitted as error:
        print(error)
        return SKIPPED
    failed = []
    try:
        # The browser and the clients of this process run on the sixth host.
        host.enter()
        with sync_playwright() as playwright:
            browser = Browser(playwright, directory)
            host.start()
            for name in chosen:
                try:
                    figures = checks.CHECKS[name](browser, host)
                    print(f"passed  {name}{f': {figures}' if figures else ''}", flush=True)
                except Exception as error:  # a failed check does not end the others
                    failed.append(name)
                    browser.screenshot_all(f"failed-{name}")
                    print(f"FAILED  {name}: {error}\n{traceback.format_exc()}", flush=True)
                finally:
                    browser.close_pages()
            browser.close()
    finally:
        host.close()
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed; screenshots in {directory}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], sys.argv[4:]))
