"""The page in a real browser: what a person sees, and STOP. Needs the system's Chromium."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page's packages are not installed (edge-wam[web])")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed (edge-wam[dev])")

from playwright.sync_api import expect
from web_stage import DESK, FINGER_PX, PHONE, SOON_S, TOKEN, Page, Robot, is_live, wait_for

from edge_wam.orders import Order, Verb
from edge_wam.telemetry import event_record


@pytest.fixture(scope="module")
def page():
    with Page(may_command=True) as made:
        yield made


@pytest.fixture
def robot():
    with Robot() as made:
        yield made


def test_a_stranger_comes_in_with_the_token_alone(browser, page, robot):
    context = browser.new_context()
    tab = context.new_page()
    answer = tab.goto(page.url)
    assert answer.status == 401
    assert "STOP" not in tab.content()
    tab.fill("#token", "not the token at all")
    tab.click("button")
    expect(tab.locator("#token")).to_be_visible()
    tab.fill("#token", TOKEN)
    tab.click("button")
    is_live(tab)
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    tab.goto("about:blank")
    tab.goto(page.url)
    is_live(tab)
    context.close()


def test_a_link_with_the_token_behind_its_hash_opens_the_page(browser, page, robot):
    context = browser.new_context()
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(f"{page.url}/login#{TOKEN.replace(' ', '%20')}")
    is_live(tab)
    assert not [url for url in asked if "token" in url]
    context.close()


def test_what_the_robot_does_is_there_and_moves(look, robot):
    tab = look()
    is_live(tab)
    expect(tab.locator("#mode")).to_have_text("holding")
    expect(tab.locator("#task")).to_have_text("no task")
    robot.follow(b"pick red")
    robot.record["temperature_c"][2] = 71
    robot.record["error"][5] = 32
    expect(tab.locator("#task")).to_have_text("pick up the red cube")
    rows = tab.locator("#servos tr")
    expect(rows.nth(2).locator("td.bad")).to_have_text("71")
    expect(rows.nth(5).locator("td.bad")).to_have_text("overload (0x20)")
    expect(rows.nth(0).locator("td.ok")).to_have_text("ok")


def test_a_camera_shows_what_it_sees_and_says_when_it_is_old(look, robot):
    tab = look()
    is_live(tab)
    figure = tab.locator("#cameras figure").nth(1)
    expect(figure.locator(".age")).to_have_text("no picture yet")
    picture = np.zeros((), robot.boxes.sights[1].dtype)
    picture["image"][:, :, 2] = 250
    robot.boxes.sights[1].put(picture)
    image = figure.locator("img")
    expect(image).to_have_js_property("naturalWidth", 64)
    blue = """image => { const c = document.createElement("canvas"); c.width = c.height = 1;
        const pen = c.getContext("2d"); pen.drawImage(image, 0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data]; }"""
    red, _, found, _ = image.evaluate(blue)
    assert (red < 20, found > 230) == (True, True)
    expect(figure.locator(".age")).to_contain_text("s old")


@pytest.mark.usefixtures("patient")
def test_one_click_stops_and_the_proof_is_shown(look, robot):
    tab = look()
    is_live(tab)
    robot.follow(b"pick red")
    expect(tab.locator("#mode")).to_have_text("following")
    tab.click("#stop-button")
    expect(tab.locator("#proof")).to_contain_text("stopped in", timeout=1e3 * SOON_S)
    assert robot.obeyed == [Order(Verb.STOP)]
    expect(tab.locator("#mode")).to_have_text("holding")
    robot.follow(b"pick red")
    tab.focus("#text")
    tab.keyboard.press("Escape")
    wait_for(lambda: len(robot.obeyed) == 2, "Esc did not stop it")


def test_a_stop_that_is_not_proved_is_said_in_red(look, robot):
    tab = look()
    is_live(tab)
    robot.deaf = True
    tab.click("#stop-button")
    expect(tab.locator("#proof.bad")).to_contain_text("cut its power")


def test_stop_works_without_any_script(browser, page, robot):
    context = browser.new_context(java_script_enabled=False, **DESK)
    tab = context.new_page()
    tab.goto(page.url)
    tab.fill("#token", TOKEN)
    tab.click("button")
    tab.click("#stop-button")
    wait_for(lambda: robot.obeyed == [Order(Verb.STOP)], "it was not stopped")
    assert tab.url == page.url + "/"
    context.close()


@pytest.mark.parametrize("how", [DESK, PHONE, {"viewport": {"width": 320, "height": 480}}])
def test_stop_is_there_wherever_one_has_scrolled_to(look, robot, how):
    tab = look(**how)
    is_live(tab)
    for to in ("0", "document.body.scrollHeight / 2", "document.body.scrollHeight"):
        tab.evaluate(f"scrollTo(0, {to})")
        box = tab.locator("#stop-button").bounding_box()
        width, height = how["viewport"]["width"], how["viewport"]["height"]
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert min(box["width"], box["height"]) >= FINGER_PX
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        assert tab.evaluate("([x, y]) => document.elementFromPoint(x, y).id", middle) == "stop-button"
    if how is PHONE:
        tab.tap("#stop-button")
        wait_for(lambda: robot.obeyed, "a tap did not stop it")


@pytest.mark.parametrize("how", [PHONE, DESK, {"viewport": {"width": 320, "height": 480}}])
def test_nothing_has_to_be_scrolled_sideways(look, robot, how):
    robot.boxes.events.put(event_record("heard", "x" * 300))
    tab = look(**how)
    is_live(tab)
    expect(tab.locator("#log li").first).to_contain_text("xxx")
    assert tab.evaluate("document.documentElement.scrollWidth") <= how["viewport"]["width"]


def test_what_was_heard_is_text_and_nothing_else(look, robot):
    evil = "<img src=x onerror=\"document.title='owned'\"><b>stop</b>"
    robot.boxes.events.put(event_record("heard", evil, "", 0.4, "names no cube"))
    robot.boxes.events.put(event_record("heard", "go home", "home", 0.9))
    tab = look()
    is_live(tab)
    rows = tab.locator("#log li")
    expect(rows.nth(0)).to_contain_text("“go home”")
    expect(rows.nth(0)).not_to_contain_text("no command")
    expect(rows.nth(1)).to_contain_text(evil)
    expect(rows.nth(1)).to_contain_text("names no cube")
    assert tab.locator("#log img").count() == 0
    assert "owned" not in tab.title()


def test_no_robot_is_said_and_one_that_comes_is_seen(look):
    tab = look()
    expect(tab.locator("#gone")).to_be_visible()
    expect(tab.locator("#why")).to_contain_text("no robot")
    expect(tab.locator("#live")).to_be_hidden()
    tab.click("#stop-button")
    expect(tab.locator("#proof.bad")).to_contain_text("no robot")
    with Robot():
        is_live(tab)
        expect(tab.locator("#gone")).to_be_hidden()
        expect(tab.locator("#servos tr")).to_have_count(6)
    expect(tab.locator("#gone")).to_be_visible()


def test_a_robot_that_tells_nothing_is_not_shown_as_if_it_lived(look, robot):
    tab = look()
    is_live(tab)
    robot.stuck = True
    expect(tab.locator("#notice")).to_contain_text("has told nothing")
    expect(tab.locator("#mode")).to_have_text("silent")
    expect(tab.locator("body")).to_have_attribute("data-robot", "silent")  # its pictures are grey
    robot.stuck = False
    is_live(tab)
    expect(tab.locator("#notice")).to_be_hidden()


def test_a_server_that_is_gone_is_said_and_found_again(look, robot):
    with Page(may_command=True) as first:
        tab = look(first)
        is_live(tab)
    expect(tab.locator("#notice")).to_contain_text("lost")
    expect(tab.locator("body")).to_have_attribute("data-robot", "lost")
    with Page(may_command=True, port=first.port):
        is_live(tab)
        expect(tab.locator("#notice")).to_be_hidden()


def test_how_sure_the_recogniser_was_is_shown(look, robot):
    robot.boxes.events.put(event_record("heard", "grab the red block", "pick red", 0.83))
    robot.boxes.events.put(event_record("heard", "the cube", "", 0.41, "no such command"))
    robot.boxes.events.put(event_record("task", "doing: pick red"))
    tab = look()
    is_live(tab)
    rows = tab.locator("#log li")
    expect(rows.nth(0)).not_to_contain_text("%")
    expect(rows.nth(1)).to_contain_text("41 %")
    expect(rows.nth(1)).to_contain_text("no such command")
    expect(rows.nth(2)).to_contain_text("“grab the red block” – pick red")
    expect(rows.nth(2)).to_contain_text("83 %")
