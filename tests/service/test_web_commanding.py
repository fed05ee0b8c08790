"""The page in a real browser: tasks in writing, and the talk button. Needs the system's Chromium."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page's packages are not installed (edge-wam[web])")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed (edge-wam[dev])")

from playwright.sync_api import expect
from web_stage import FINGER_PX, PHONE, PLAN, Page, Robot, is_live, wait_for

from edge_wam.orders import Order, Verb


@pytest.fixture(scope="module")
def page():
    with Page(may_command=True) as made:
        yield made


@pytest.fixture
def robot():
    with Robot() as made:
        yield made


@pytest.fixture
def pushed():
    """A robot that listens while a button is held."""
    with Robot(PLAN._replace(push=True)) as made:
        yield made


def send(tab, text: str) -> None:
    """As somebody types it into the page's field."""
    tab.fill("#text", text)
    tab.press("#text", "Enter")


def test_a_task_is_given_by_text_or_refused_with_the_nearest(look, robot):
    tab = look()
    is_live(tab)
    send(tab, "pick up the rad cube")
    expect(tab.locator("#answer")).to_contain_text("did you mean 'pick up the red cube'")
    tab.fill("#text", "Go home")
    tab.click("#do button")
    expect(tab.locator("#task")).to_have_text("go home")
    expect(tab.locator("#answer")).to_be_empty()
    assert robot.obeyed == [Order(Verb.DO, "home")]


def test_what_was_left_open_is_asked_and_only_a_yes_does_it(look, robot):
    tab = look()
    is_live(tab)
    expect(tab.locator("#ask")).to_be_hidden()
    send(tab, "hurl the red cube up")
    expect(tab.locator("#question")).to_have_text("Did you mean: pick up the red cube?")
    tab.click("#no")
    expect(tab.locator("#ask")).to_be_hidden()
    assert robot.obeyed == []
    tab.press("#text", "Enter")
    expect(tab.locator("#ask")).to_be_visible()
    send(tab, "do not go home")
    expect(tab.locator("#answer")).to_contain_text("not")
    expect(tab.locator("#ask")).to_be_hidden()  # of another sentence
    send(tab, "hurl the red cube up")
    tab.click("#yes")
    expect(tab.locator("#task")).to_have_text("pick up the red cube")
    expect(tab.locator("#ask")).to_be_hidden()
    assert robot.obeyed == [Order(Verb.DO, "pick red")]


def told_of(robot, found):
    """Adds what was told of holds; whether the last says that it was let go."""
    found += robot.holds()
    return bool(found) and not found[-1][1]


def test_the_talk_button_is_held_again_and_again_and_let_go(look, pushed):
    tab = look()
    is_live(tab)
    expect(tab.locator("#talk")).to_have_text("Hold to talk")
    tab.hover("#talk")
    tab.mouse.down()
    expect(tab.locator("#talk")).to_have_text("Listening …")
    time.sleep(1.5)
    found = pushed.holds()
    assert all(held for _, held, _ in found)
    assert len({by for by, *_ in found}) == 1
    times_s = [t_s for *_, t_s in found]
    assert times_s[-1] - times_s[0] > 1.0
    assert max(np.diff(times_s)) < 0.9
    tab.mouse.move(5, 5)  # a finger that slides off the button still holds it
    time.sleep(0.5)
    assert all(held for _, held, _ in pushed.holds())
    tab.mouse.up()
    expect(tab.locator("#talk")).to_have_text("Hold to talk")
    wait_for(lambda: told_of(pushed, found), "it was not let go")
    time.sleep(0.6)
    assert pushed.holds() == []
    assert pushed.obeyed == []


def test_the_space_bar_is_the_same_button_but_not_where_one_writes(look, pushed):
    tab = look()
    is_live(tab)
    tab.focus("#text")
    tab.keyboard.press("Space")
    tab.focus("#stop-button")
    tab.keyboard.press("Space")
    wait_for(lambda: pushed.obeyed == [Order(Verb.STOP)], "space on STOP did not stop")
    assert pushed.holds() == []
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.down("Space")
    expect(tab.locator("#talk")).to_have_text("Listening …")
    tab.keyboard.up("Space")
    found = []
    wait_for(lambda: told_of(pushed, found), "it was not let go")
    assert found[0][1]


def test_a_thumb_holds_it_on_a_phone_beside_stop(look, pushed):
    tab = look(**PHONE)
    is_live(tab)
    talk, stop = (tab.locator(name).bounding_box() for name in ("#talk", "#stop-button"))
    assert min(talk["height"], talk["width"], stop["height"]) >= FINGER_PX
    assert talk["y"] + talk["height"] <= stop["y"]
    assert stop["y"] + stop["height"] <= 844
    touch = tab.context.new_cdp_session(tab)
    at = [{"x": talk["x"] + 40, "y": talk["y"] + 20}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at})
    expect(tab.locator("#talk")).to_have_text("Listening …")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    found = []
    wait_for(lambda: told_of(pushed, found), "it was not let go")
    assert found[0][1]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_tab_that_is_left_and_a_server_that_is_gone_let_go(look, pushed):
    tab = look()
    is_live(tab)
    tab.hover("#talk")
    tab.mouse.down()
    expect(tab.locator("#talk")).to_have_text("Listening …")
    tab.evaluate("window.dispatchEvent(new Event('blur'))")
    expect(tab.locator("#talk")).to_have_text("Hold to talk")
    tab.mouse.up()
    with Page(may_command=True) as first:
        tab = look(first)
        is_live(tab)
        tab.hover("#talk")
        tab.mouse.down()
        expect(tab.locator("#talk")).to_have_text("Listening …")
    expect(tab.locator("#talk")).to_be_hidden()  # the connection is lost: nothing is told any more
    pushed.holds()
    time.sleep(1.0)
    assert pushed.holds() == []


def test_where_the_robot_always_listens_there_is_no_button(look, robot):
    tab = look()
    is_live(tab)
    expect(tab.locator("#talk")).to_be_hidden()
    tab.keyboard.press("Space")
    assert robot.holds() == []


def test_without_the_opt_in_there_is_nothing_to_write_into_or_to_hold(look, pushed):
    with Page() as shy:
        tab = look(shy)
        is_live(tab)
        expect(tab.locator("#text")).to_be_hidden()
        expect(tab.locator("#talk")).to_be_hidden()
        expect(tab.locator("#stop-button")).to_be_visible()
