"""What others may ask of the robot, and that a STOP is never lost."""

from __future__ import annotations

import time

import numpy as np
import pytest
from telemetry_rig import PLAN

from edge_wam.messages import COMMAND_BYTES
from edge_wam.orders import Order, Orders, Verb
from edge_wam.telemetry import ASKED, ASKED_FRESH_S, ASKED_KEPT, Asked


@pytest.fixture
def asked(boxes):
    orders = Orders()
    return Asked(boxes.asked, PLAN.commands, orders), orders


def post(window, verb: bytes, command: bytes = b"", age_s: float = 0.0) -> None:
    """As a program of anybody's may."""
    record = np.zeros((), ASKED)
    record["verb"], record["command"] = verb, command
    window.look()[1].asked.put(record, time.monotonic() - age_s)


def test_an_order_arrives_with_who_asked(window, asked):
    window.ask(Verb.DO, "pick red", "the page of 红" + "红" * 30)
    taken = asked[0].take()
    assert taken == [(Order(Verb.DO, "pick red"), "the page of " + "红" * 6)]
    assert asked[1].take() == [Order(Verb.DO, "pick red")]
    assert asked[0].take() == []


def test_a_stop_comes_last_whatever_was_asked_after_it(window, asked):
    window.ask(Verb.STOP)
    window.ask(Verb.DO, "pick red")
    window.ask(Verb.PARK)
    asked[0].take()
    assert [order.verb for order in asked[1].take()] == [Verb.DO, Verb.PARK, Verb.STOP]


def test_an_order_that_is_found_too_late_is_nobodys_wish_but_a_stop_is(window, asked):
    post(window, b"do", b"pick red", ASKED_FRESH_S + 0.1)
    post(window, b"park", age_s=ASKED_FRESH_S + 0.1)
    post(window, b"stop", age_s=60.0)
    asked[0].take()
    assert asked[1].take() == [Order(Verb.STOP)]
    post(window, b"do", b"pick red", ASKED_FRESH_S / 2)
    asked[0].take()
    assert asked[1].take() == [Order(Verb.DO, "pick red")]


def test_a_stop_that_drowned_in_other_orders_is_carried_out(window, asked):
    window.ask(Verb.PARK)
    asked[0].take()
    asked[1].take()
    window.ask(Verb.STOP)
    for _ in range(ASKED_KEPT + 5):
        window.ask(Verb.DO, "pick red")
    asked[0].take()
    assert asked[1].take()[-1] == Order(Verb.STOP)


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        (b"do", b"jump"),
        (b"do", b"pick up the red cube"),
        (b"do", b""),
        (b"quit", b""),
        (b"", b""),
        (b"\xff\xfe", b""),
    ],
)
def test_what_is_no_order_is_none(window, asked, verb, command):
    post(window, verb, command)
    assert asked[0].take() == []
    assert asked[1].take() == []


def test_nobody_outside_ends_the_robot(window, boxes):
    with pytest.raises(ValueError, match="service manager"):
        window.ask(Verb.QUIT)
    assert boxes.asked.get() is None


def test_half_a_command_is_not_posted(window, boxes):
    with pytest.raises(ValueError, match="does not fit"):
        window.ask(Verb.DO, "x" * (COMMAND_BYTES + 1))
    assert boxes.asked.get() is None
