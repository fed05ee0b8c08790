"""What the page's server does when asked, on a real socket: what a STOP is worth, tasks, push-to-talk."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlencode

import pytest

pytest.importorskip("starlette", reason="the page's packages are not installed (edge-wam[web])")

from web_stage import BEARER, PLAN, Page, Robot, cookie_of, wait_for

from edge_wam.errors import EdgeWamError
from edge_wam.orders import Order, Verb
from edge_wam.service.web.written import Reader, Wanted, is_stop


@pytest.fixture(scope="module")
def page():
    with Page() as made:
        yield made


@pytest.fixture(scope="module")
def cookie(page):
    return cookie_of(page)


# --- orders ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
def test_a_stop_is_proved_by_a_tick_that_holds(page, cookie):
    with Robot() as robot:
        robot.follow(b"pick red")
        answer, text = page.ask("/stop", "POST", "", Origin=page.url, **cookie)
        assert answer.status == 200, text
        assert json.loads(text)["stopped"]
        assert robot.obeyed == [Order(Verb.STOP)]
        answer, text = page.ask("/stop", "POST", "", **BEARER)  # from a program, to an arm that holds
        assert (answer.status, len(robot.obeyed)) == (200, 2)


@pytest.mark.parametrize("fault", ["deaf", "stuck"])
def test_a_stop_that_nothing_shows_was_none(page, fault):
    with Robot() as robot:
        robot.follow(b"pick red")
        setattr(robot, fault, True)
        answer, text = page.ask("/stop", "POST", "", **BEARER)
        assert answer.status == 503
        assert "cut its power" in json.loads(text)["error"]


def test_a_deaf_robot_that_already_held_has_proved_nothing(page):
    with Robot() as robot:
        robot.deaf = True
        assert page.ask("/stop", "POST", "", **BEARER)[0].status == 503


def test_a_stop_where_no_robot_runs_says_so(page):
    answer, text = page.ask("/stop", "POST", "", **BEARER)
    assert answer.status == 503
    assert "no robot" in json.loads(text)["error"]


@pytest.mark.usefixtures("patient")
def test_a_form_without_script_goes_back_to_the_page(page, cookie):
    with Robot():
        answer, _ = page.ask("/stop", "POST", "", Origin=page.url, Accept="text/html,*/*", **cookie)
        assert (answer.status, answer.getheader("location")) == (303, "/")


def test_a_task_needs_a_second_opt_in(page):
    with Robot() as robot:
        wait_for(lambda: page.watch.plan, "the robot is not seen")
        answer, text = page.ask("/do", "POST", "text=go+home", **BEARER)
        assert answer.status == 403
        assert "may_command" in text
        page.ask("/stop", "POST", "", **BEARER)
        assert [order.verb for order in robot.obeyed] == [Verb.STOP]
    assert 'data-may-command="no"' in page.ask("/", **BEARER)[1]


def test_a_task_by_text_is_done_and_no_other(page):
    with Page(may_command=True) as ours, Robot() as robot:
        assert 'data-may-command="yes"' in ours.ask("/", **BEARER)[1]
        wait_for(lambda: ours.watch.plan, "the robot is not seen")
        answer, text = ours.ask("/do", "POST", "text=Pick+up++the+RED+cube+", **BEARER)
        assert (answer.status, json.loads(text)) == (200, {"asked": "pick red"})
        wait_for(lambda: robot.obeyed, "it was not told")
        for body in ("text=pick+up+the+rad+cube", "text=", "", "text=" + "x" * 5000):
            answer, text = ours.ask("/do", "POST", body, **BEARER)
            assert (answer.status, "is no command" in text) == (400, True)
        ours.ask("/stop", "POST", "", **BEARER)
        assert robot.obeyed == [Order(Verb.DO, "pick red"), Order(Verb.STOP)]


def test_what_is_written_in_other_words_is_done_asked_back_or_refused(page):
    with Page(may_command=True) as ours, Robot() as robot:
        wait_for(lambda: ours.watch.plan, "the robot is not seen")

        def write(text):
            answer, told = ours.ask("/do", "POST", urlencode({"text": text}), **BEARER)
            return answer.status, json.loads(told)

        assert write("please take the red brick") == (200, {"asked": "pick red"})
        assert write("hurl the red cube up") == (200, {"ask": "pick up the red cube"})
        assert write("go hame") == (200, {"ask": "go home"})
        for no, why in (
            ("do not pick up the red cube", ": 'not': not"),
            ("did you pick up the red cube", "a question"),
            ("pick up the yellow cube", "did you mean"),
            ("pick up the red cube and go home", "more than one thing"),
            ("yes", "is no command"),
            ("do it again", "is no command"),
        ):
            status, told = write(no)
            assert (status, why in told["error"]) == (400, True), told
        wait_for(lambda: robot.obeyed, "it was not told")
        assert write("please STOP, pick up the red cube")[1]["stopped"]
        assert robot.obeyed == [Order(Verb.DO, "pick red"), Order(Verb.STOP)]


def test_a_question_without_script_is_a_line(page, cookie):
    with Page(may_command=True) as ours, Robot() as robot:
        wait_for(lambda: ours.watch.plan, "the robot is not seen")
        answer, text = ours.ask("/do", "POST", "text=hurl+the+red+cube+up", Accept="text/html", **BEARER)
        assert (answer.status, text) == (200, "Did you mean: pick up the red cube? Nothing was done.\n")
        assert robot.obeyed == []


@pytest.mark.parametrize(
    ("text", "language", "stops"),
    [
        ("Stop!", "en", True), ("no no,stop", "en", True), ("stopped", "en", False), ("shop", "en", False),
        ("快停下来", "zh", True), ("stop", "zh", True), ("拿起红色方块", "zh", False),
    ],
)  # fmt: skip
def test_a_stop_that_is_written_stops(text, language, stops):
    assert is_stop(text, language) == stops


def test_what_is_written_is_read_in_the_robots_language():
    commands, phrases = {"pick red": "拿起红色方块"}, {"pick red": ("拿起红色方块",)}
    plan = PLAN._replace(commands=commands, phrases=phrases, language="zh")
    reader = Reader()
    assert asyncio.run(reader.read("帮我拿起红色的方块", plan)) == Wanted(command="pick red")
    with pytest.raises(EdgeWamError, match="'不要': not"):
        asyncio.run(reader.read("不要拿起红色方块", plan))
    french = plan._replace(commands={"home": "à la maison"}, phrases={}, language="fr")
    assert asyncio.run(reader.read("À la  maison", french)) == Wanted(command="home")
    with pytest.raises(EdgeWamError, match="did you mean 'à la maison'"):
        asyncio.run(reader.read("a la maison", french))


# --- push-to-talk ---------------------------------------------------------------------------


def test_a_hold_reaches_the_robot_with_its_browser_and_its_time(cookie):
    with Page(may_command=True) as ours, Robot() as robot:
        before_s = time.monotonic()
        for body in ("held=yes&who=a1", "held=yes&who=b2", "held=no&who=a1"):
            assert ours.ask("/talk", "POST", body, **BEARER)[0].status == 200
        holds = robot.holds()
        assert [hold[:2] for hold in holds] == [("page-a1", True), ("page-b2", True), ("page-a1", False)]
        assert before_s < holds[0][2] < time.monotonic()
        for body in ("", "held=yes", "held=maybe&who=a1", "held=yes&who=", "held=yes&who=A/1", "who=a1"):
            assert ours.ask("/talk", "POST", body, **BEARER)[0].status == 400
        assert ours.ask("/talk", "POST", "held=yes&who=a1", Origin="http://evil", **BEARER)[0].status == 403
        assert robot.holds() == []


def test_who_may_not_command_may_not_hold_the_button(page):
    with Robot() as robot:
        answer, text = page.ask("/talk", "POST", "held=yes&who=a1", **BEARER)
        assert (answer.status, "may_command" in text) == (403, True)
        assert robot.holds() == []


def test_where_no_robot_runs_nobody_listens():
    with Page(may_command=True) as ours:
        answer, text = ours.ask("/talk", "POST", "held=yes&who=a1", **BEARER)
        assert (answer.status, "no robot" in text) == (503, True)
        assert ours.ask("/do", "POST", "text=go+home", **BEARER)[0].status == 503
