"""What browsers are told, step by step: time is ours."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page's packages are not installed (edge-wam[web])")

import contextlib

from web_stage import NAME, PLAN

from edge_wam import telemetry
from edge_wam.act.feetech import error_text
from edge_wam.act.health import Thresholds
from edge_wam.service.web.metrics import Metrics
from edge_wam.service.web.sights import Imagination
from edge_wam.service.web.watch import MUTE_S, PAST_S, SEATS_MAX, SILENT_S, Seat, Watch


@pytest.fixture
def robot():
    with contextlib.ExitStack() as stack:
        yield telemetry.create(NAME, PLAN, stack)
    (telemetry.folder() / telemetry.public_name(NAME, "alive")).unlink()


@pytest.fixture
def watch():
    return Watch(NAME, Thresholds(), error_text, Metrics(NAME))


def tick(boxes, t_s, index=1, **fields):
    record = np.zeros((), telemetry.TICK)
    record["index"], record["mode"], record["fresh"], record["entered_s"] = index, b"holding", True, np.nan
    for name, value in fields.items():
        record[name] = value
    boxes.ticks.put(record, t_s)


def told(seat: Seat) -> dict[str, object]:
    """What a browser would get now."""
    waiting, seat._waiting = seat._waiting, {}
    parts = [text.removesuffix("\n\n").partition("\ndata: ") for text in waiting.values()]
    return {head.removeprefix("event: "): json.loads(data) for head, _, data in parts}


def test_the_newest_of_each_kind_is_all_that_waits():
    async def read() -> str:
        seat = Seat()
        for n in range(1000):
            seat.put("state", str(n))
        seat.put("log", "[]")
        async for text in seat:
            return text
        return ""

    assert asyncio.run(read()) == "event: state\ndata: 999\n\nevent: log\ndata: []\n\n"


def test_what_was_true_last_is_told_last():
    seat = Seat()
    for kind in ("gone", "plan", "state", "gone"):
        seat.put(kind, "{}")
    assert list(told(seat)) == ["plan", "state", "gone"]


def test_a_robot_that_tells_nothing_any_more_is_silent(robot, watch):
    seat = watch.sit()
    tick(robot, 100.0)
    watch.step(100.0 + SILENT_S)
    assert not told(seat)["state"]["silent"]
    watch.step(100.01 + SILENT_S)
    state = told(seat)["state"]
    assert state["silent"]
    assert state["age_s"] == pytest.approx(SILENT_S + 0.01)


def test_a_robot_that_has_not_begun_has_no_age(robot, watch):
    seat = watch.sit()
    watch.step(100.0)
    assert told(seat)["state"]["age_s"] is None


def test_what_is_not_a_number_is_null(robot, watch):
    seat = watch.sit()
    tick(robot, 1.0, index=4, temperature_c=np.nan, measured_rad=np.nan, stale_s=np.inf)
    watch.step(1.0)
    state = told(seat)["state"]
    assert state["temperature_c"] == state["measured_deg"] == [None] * 6
    assert state["stale_s"] is None
    assert state["points"][0][7:13] == [None] * 6


def test_the_figures_are_of_the_last_seconds(robot, watch):
    seat = watch.sit()
    tick(robot, 1.0, late_s=0.5, limited=[0, 3, 0, 0, 0, 0])
    for n in range(100):
        tick(robot, 1.1 + PAST_S + n / 50, index=n, late_s=0.001 * (n % 10), limited=[0, 0, 0, 0, n == 7, 0])
    watch.step(3.1 + PAST_S)
    state = told(seat)["state"]
    assert state["late_p50_ms"] == pytest.approx(4.5)
    assert state["late_p99_ms"] == pytest.approx(9.0)
    assert state["limited"] == {"speed": 1}


def test_a_servo_is_mute_only_after_a_while(robot, watch):
    seat = watch.sit()
    lost = [True, False, True, True, True, True]
    tick(robot, 1.0)
    tick(robot, 1.02, fresh=lost)
    watch.step(1.02)
    assert told(seat)["state"]["mute"] == [False] * 6
    tick(robot, 1.03 + MUTE_S, fresh=lost)
    watch.step(1.03 + MUTE_S)
    assert told(seat)["state"]["mute"] == [False, True, False, False, False, False]


def test_errors_are_in_words_and_the_task_as_it_is_said(robot, watch):
    seat = watch.sit()
    tick(robot, 1.0, error=[0, 32, 0, 0, 0, 0], command=b"pick red", mode=b"following")
    watch.step(1.0)
    state = told(seat)["state"]
    assert state["errors"] == ["", "overload (0x20)", "", "", "", ""]
    assert (state["task"], state["mode"]) == ("pick up the red cube", "following")


def test_a_browser_that_comes_late_gets_the_past(robot, watch):
    for n in range(40):
        tick(robot, 1 + n / 50, index=n, sent_rad=np.pi / 2, late_s=0.003 if n == 6 else 0.001)
    robot.events.put(telemetry.event_record("done", "done"), 1.5)
    watch.step(1.8)
    found = told(watch.sit())
    times = [point[0] for point in found["past"]]
    assert times == [round(1 + n / 50, 3) for n in range(0, 40, 4)]
    assert found["past"][0][1:7] == [90.0] * 6
    assert [point[13] for point in found["past"][:4]] == [1.0, 1.0, 3.0, 1.0]  # the worst since the last
    assert found["log"][0]["kind"] == "done"
    assert found["plan"]["low_deg"] == [pytest.approx(np.rad2deg(-1.5), abs=0.06)] * 6


def test_a_robot_that_goes_and_comes_back_is_told_each_once(watch):
    seat = watch.sit()
    assert "why" in told(seat)["gone"]
    watch.step(1.0)
    assert "no robot" in told(seat)["gone"]["why"]
    watch.step(1.1)
    assert told(seat) == {}
    with contextlib.ExitStack() as stack:
        first = telemetry.create(NAME, PLAN, stack)
        tick(first, 1.1, index=4, mode=b"parked")
        watch.step(1.2)
        found = told(seat)
        assert found["state"]["mode"] == "parked"
        assert (found["plan"]["model"], found["past"]) == ("a-model", [])
    with contextlib.ExitStack() as stack:  # so soon that nobody saw it gone
        telemetry.create(NAME, PLAN._replace(model="another"), stack)
        watch.step(1.3)
        found = told(seat)
        assert found["plan"]["model"] == "another"
        assert found["state"]["age_s"] is None  # nothing of the one before
    watch.step(1.4)
    assert "gone" in told(seat)


def test_a_plan_that_is_told_again_keeps_the_curves(robot, watch):
    seat = watch.sit()
    tick(robot, 1.0)
    watch.step(1.0)
    assert "plan" in told(seat)
    telemetry.tell_plan(robot, PLAN._replace(low_rad=(-0.5,) * 6))
    watch.step(1.1)
    found = told(seat)
    assert found["plan"]["low_deg"][0] == pytest.approx(-28.6)
    assert "past" not in found
    watch.step(1.2)
    assert "plan" not in told(seat)


def test_a_seat_that_is_left_is_free(watch):
    seats = [watch.sit() for _ in range(SEATS_MAX)]
    assert watch.sit() is None
    watch.leave(seats[3])
    watch.leave(seats[3])
    assert watch.sit() is not None
    assert watch.sit() is None


def test_frames_are_told_to_those_who_look(robot, watch):
    record = np.zeros((), robot.sights[0].dtype)
    record["image"][:, :, 0] = 200
    robot.sights[0].put(record, 1.0)
    tick(robot, 1.0)
    watch.step(1.0)  # nobody looks: not even read
    seat = watch.sit()
    told(seat)
    watch.step(1.1)
    found = told(seat)
    assert found["sight-front"]["t_s"] == 1.0
    assert decoded(found["sight-front"]["jpeg"]).mean((0, 1)) == pytest.approx([200, 0, 0], abs=3)
    watch.step(1.2)
    assert "sight-front" not in told(seat)


def decoded(jpeg: str) -> np.ndarray:
    import base64
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))))


# --- the imagined future --------------------------------------------------------------------


def frame(level: int) -> np.ndarray:
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:40, 16:48] = level  # the centred square; what is around it is not imagined
    image[:8] = 255
    return image


def seen(levels: list[int], dt_s: float = 0.1) -> Imagination:
    imagination = Imagination(PLAN)
    for n, level in enumerate(levels):
        for camera in range(2):
            imagination.see(camera, 1 + n * dt_s, frame(level))
    return imagination


def dream(first: int, second: int) -> np.ndarray:
    images = np.zeros((2, 2, 8, 8, 3), np.uint8)
    images[:, 0], images[:, 1] = first, second
    return images


def test_a_dream_is_told_once_all_cameras_have_seen_its_end():
    imagination = seen([0, 0, 100, 100])
    imagination.imagine(1.0, dream(100, 200))  # ahead 0.2 and 0.4 s
    assert imagination.come_true() is None
    imagination.see(0, 1.4, frame(200))
    assert imagination.come_true() is None
    imagination.see(1, 1.4, frame(200))
    found = imagination.come_true()
    assert [one["camera"] for one in found["cameras"]] == ["front", "wrist"]
    real = [decoded(jpeg).mean() for jpeg in found["cameras"][1]["real"]]
    imagined = [decoded(jpeg).mean() for jpeg in found["cameras"][1]["imagined"]]
    assert real == pytest.approx([100, 200], abs=2)
    assert imagined == pytest.approx([100, 200], abs=2)
    assert decoded(found["cameras"][0]["real"][0]).shape == (32, 32, 3)
    assert found["ratio"] == 0
    assert imagination.come_true() is None


@pytest.mark.parametrize(
    ("first", "second", "ratio"), [(0, 0, 1.0), (100, 200, 0.0), (50, 100, 0.25), (200, 400 - 256, None)]
)
def test_the_ratio_is_of_squared_errors_on_what_moved(first, second, ratio):
    imagination = seen([0, 0, 100, 100, 200])
    imagination.imagine(1.0, dream(first, second))
    found = imagination.come_true()["ratio"]
    assert found == pytest.approx((100**2 + 56**2) / (100**2 + 200**2) if ratio is None else ratio)


def test_the_ratio_is_of_many_dreams_for_one_is_noise_where_little_moved():
    imagination = seen([0, 0, 100, 100, 200])
    imagination.imagine(1.0, dream(100, 200))
    assert imagination.come_true()["ratio"] == 0
    for n in range(5, 10):
        for camera in range(2):
            imagination.see(camera, 1 + n * 0.1, frame(210))
    imagination.imagine(1.4, dream(200, 200))  # from 200 to 210, and not imagined: 1 by itself
    assert imagination.come_true()["ratio"] == pytest.approx(2 * 10**2 / (2 * 10**2 + 100**2 + 200**2))


def test_where_nothing_moved_there_is_no_ratio():
    imagination = seen([50, 50, 55, 55, 50])
    imagination.imagine(1.0, dream(0, 0))
    assert imagination.come_true()["ratio"] is None


def test_the_newest_that_is_due_is_told_and_the_later_wait():
    imagination = seen([0, 0, 100, 100, 200])
    for t0_s in (0.9, 1.0, 1.1):
        imagination.imagine(t0_s, dream(round(100 * t0_s), 0))
    first = imagination.come_true()
    assert decoded(first["cameras"][0]["imagined"][0]).mean() == pytest.approx(100, abs=2)
    for camera in range(2):
        imagination.see(camera, 1.5, frame(200))
    assert decoded(imagination.come_true()["cameras"][0]["imagined"][0]).mean() == pytest.approx(110, abs=2)


def test_a_dream_of_a_moment_that_nobody_saw_is_not_told():
    imagination = seen([0, 0, 0, 0, 0, 0], dt_s=0.4)
    imagination.imagine(1.0, dream(0, 0))  # at 1.2 there was no frame
    assert imagination.come_true() is None
