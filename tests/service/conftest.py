"""An arm of STS3215 for whoever calibrates, and a browser for the page's tests."""

from __future__ import annotations

import contextlib

import pytest
from person import arm_of, plug_in


@pytest.fixture
def robot(monkeypatch):
    """On the port that is opened, whichever that is."""
    made = arm_of()
    plug_in(made, monkeypatch)
    return made


@pytest.fixture
def patient(monkeypatch):
    """A machine that others keep busy shows a STOP late; what is tested is that it is shown."""
    from web_stage import SOON_S

    from edge_wam.service.web import watch

    monkeypatch.setattr(watch, "PROOF_S", SOON_S)


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium."""
    from playwright.sync_api import sync_playwright
    from web_stage import chromium

    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine; try: sudo apt-get install chromium")
    with sync_playwright() as started:
        made = started.chromium.launch(executable_path=path)
        yield made
        made.close()


@pytest.fixture
def look(browser, page):
    """look(): a browser that has given the token to the tests' own page; whatever its scripts complain of
    fails the test."""
    from web_stage import DESK, TOKEN

    complaints: list[str] = []
    with contextlib.ExitStack() as stack:

        def open_(page=page, **how: object):
            context = browser.new_context(**(how or DESK))
            stack.callback(context.close)
            context.set_default_timeout(15_000)
            tab = context.new_page()
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.goto(page.url + "/login")
            tab.fill("#token", TOKEN)
            tab.click("button")
            tab.wait_for_url(page.url + "/")
            return tab

        yield open_
    assert complaints == []
