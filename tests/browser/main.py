"""The dashboard in a real browser. tests/browser/run calls this with the program, the large_network and its own words."""

import os
import pathlib
import shutil
import signal
import sys
import traceback

import checks
from browser import Browser
from host import Host
from namespace import NotAllowed
from playwright.sync_api import sync_playwright

SKIPPED = 77


def main(program, large_network, target, words):
    # What `timeout` sends becomes an exception, so that everything is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/browser: stopped"))
    checks.PICTURE = "--picture" in words
    chosen = [word for word in words if word != "--picture"] or list(checks.CHECKS)
    unknown = [word for word in chosen if word not in checks.CHECKS]
    if unknown:
        print(f"tests/browser/run: no check {unknown[0]}: expected some of: {' '.join(checks.CHECKS)}")
        return 64
    place = pathlib.Path(target).absolute() / "browser"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        host = Host(os.path.abspath(program), os.path.abspath(large_network), place)
    except NotAllowed as error:
        print(error)
        return SKIPPED
    failed = []
    try:
        # The browser and all that asks like it belong to the sixth host.
        host.enter()
        with sync_playwright() as playwright:
            browser = Browser(playwright, place)
            host.start()
            for name in chosen:
                try:
                    told = checks.CHECKS[name](browser, host)
                    print(f"passed  {name}{f': {told}' if told else ''}", flush=True)
                except Exception as error:  # whatever it is, the other checks go on
                    failed.append(name)
                    browser.shoot_all(f"failed-{name}")
                    print(f"FAILED  {name}: {error}\n{traceback.format_exc()}", flush=True)
                finally:
                    browser.close_pages()
            browser.close()
    finally:
        host.close()
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed; pictures in {place}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], sys.argv[4:]))
