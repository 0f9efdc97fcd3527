"""Pages of this project in a real browser: the system's Chromium, headless, driven by playwright."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium():
    """A browser; the test is skipped, with the reason, on a machine without one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, file, fragment="", width=1280, scheme="light"):
    """A page that must load without a console message, an error or a request for anything but itself."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, found = context.new_page(), []
    page.on("console", lambda message: found.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("request", lambda request: found.append(request.url) if request.url.startswith("http") else None)
    page.on("dialog", lambda dialog: (found.append("dialog"), dialog.dismiss()))
    page.goto(file.resolve().as_uri() + fragment)
    page.wait_for_selector(".figure svg")
    try:
        yield page
    finally:
        context.close()
    assert found == []


def until(page, script, *arg):
    """Wait until an expression is true; playwright's own waiting needs an eval, which the page forbids."""
    for _ in range(200):
        if page.evaluate(script, *arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {script}")
