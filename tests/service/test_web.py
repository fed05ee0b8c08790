"""The page's server, on a real socket: who may come in, and what is told."""

from __future__ import annotations

import contextlib
import json
import re
import stat
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the page's packages are not installed (edge-wam[web])")

from web_stage import BEARER, TOKEN, Page, Robot, cookie_of, events, form, wait_for

from edge_wam.errors import EdgeWamError
from edge_wam.service.web.gate import OPEN, make_token, read_token
from edge_wam.service.web.server import token_path
from edge_wam.service.web.watch import SEATS_MAX
from edge_wam.telemetry import event_record


@pytest.fixture(scope="module")
def page():
    with Page() as made:
        yield made


@pytest.fixture(scope="module")
def cookie(page):
    return cookie_of(page)


# --- who may come in ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/stream"),
        ("GET", "/metrics"),
        ("GET", "/page.js"),
        ("GET", "/nothing"),
        ("POST", "/stop"),
        ("POST", "/do"),
        ("POST", "/talk"),
    ],
)
@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "edge-wam="},
        {"Cookie": f"edge-wam={TOKEN.split()[0]}"},
    ],
)
def test_a_stranger_gets_nothing(page, method, path, shown):
    answer, text = page.ask(path, method, **shown, **({"Origin": page.url} if method == "POST" else {}))
    assert answer.status == 401
    assert path == "/" or "token" in text


def test_what_a_stranger_sees_is_where_to_give_the_token(page):
    _, text = page.ask("/")
    assert 'action="/login"' in text
    assert all(page.ask(path)[0].status == 200 for path in OPEN)


def test_the_token_opens_everything_for_a_program(page):
    for path in ("/", "/metrics", "/page.js", "/chart.js"):
        assert page.ask(path, **BEARER)[0].status == 200
    assert page.ask("/", Authorization=f"bearer  {TOKEN} ")[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "10.0.0.7",
        "[::1]:80",
        "",
        "127.0.0.2",
    ],
)
@pytest.mark.parametrize("path", ["/", "/login", "/stream"])
def test_a_foreign_host_is_refused_whatever_is_shown(page, host, path):
    assert page.ask(path, Host=host, **BEARER)[0].status == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:99", "127.0.0.1:1"])
def test_our_own_names_are_ours_whatever_the_port(page, host):
    assert page.ask("/", Host=host, **BEARER)[0].status == 200


def test_the_cookie_is_for_the_page_alone_and_is_not_the_token(page):
    answer, _ = page.ask("/login", "POST", f"token={TOKEN}", **form(page))
    given = answer.getheader("set-cookie")
    assert TOKEN not in given
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in given.split(";")}
    assert answer.getheader("location") == "/"


def test_a_wrong_token_gets_no_cookie(page):
    answer, text = page.ask("/login", "POST", "token=wrong", **form(page))
    assert (answer.status, answer.getheader("set-cookie")) == (401, None)
    assert 'action="/login"' in text


def test_a_cookie_of_another_token_is_void(page, cookie):
    assert page.ask("/", **cookie)[0].status == 200
    with Page(token="another token, just as long") as other:
        assert other.ask("/", **cookie)[0].status == 401


@pytest.mark.parametrize("path", ["/stop", "/do", "/talk", "/login"])
def test_an_order_from_another_page_is_refused(page, cookie, path):
    for origin in ("http://evil.example", "null", page.url + "1", "http://localhost"):
        assert page.ask(path, "POST", "", Origin=origin, **cookie)[0].status == 403
        assert page.ask(path, "POST", "", Origin=origin, **BEARER)[0].status == 403
    assert page.ask(path, "POST", "", **cookie)[0].status == 403  # a browser says where it comes from


def test_nothing_is_done_by_a_get(page):
    assert page.ask("/stop", **BEARER)[0].status == 405
    assert page.ask("/do", **BEARER)[0].status == 405
    assert page.ask("/talk", **BEARER)[0].status == 405


@pytest.mark.parametrize("path", ["/", "/login", "/metrics", "/nothing"])
def test_every_answer_forbids_foreign_scripts_frames_and_caches(page, path):
    for shown in ({}, BEARER):
        answer, _ = page.ask(path, **shown)
        policy = answer.getheader("content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("cache-control") == "no-store"
        assert answer.getheader("x-content-type-options") == "nosniff"


# --- the token's file -----------------------------------------------------------------------


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "token"
    assert make_token(path)
    first = read_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not make_token(path)
    assert read_token(path) == first
    assert make_token(tmp_path / "other")
    assert read_token(tmp_path / "other") != first


def test_a_token_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(EdgeWamError, match=rf"expected mode 0600, found {mode:04o}"):
            read_token(path)
    assert read_token(path, anybodys=True) == "0123456789abcdef"
    path.chmod(0o600)
    path.write_text("0123456789abcde")
    with pytest.raises(EdgeWamError, match="at least 16 bytes, found 15"):
        read_token(path)
    with pytest.raises(EdgeWamError, match="cannot read"):
        read_token(tmp_path / "none")


def test_systemds_credential_comes_before_the_settings(tmp_path, monkeypatch):
    from edge_wam import config

    usual = config.load()
    assert token_path(usual) == (usual.web.token_file, True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert token_path(usual) == (usual.web.token_file, True)
    (tmp_path / "web-token").write_text(TOKEN)
    assert token_path(usual) == (tmp_path / "web-token", False)


# --- what is told ---------------------------------------------------------------------------


def test_the_stream_tells_all_kinds_and_ends_with_the_server():
    with Page() as page, Robot() as robot:
        robot.boxes.events.put(event_record("heard", "what <b>", "", 0.5, "no idea"))
        answer, _ = page.ask("/stream", **BEARER)
        assert answer.getheader("content-type").startswith("text/event-stream")
        found: dict[str, str] = {}
        for kind, data in events(answer):
            found[kind] = data
            if {"plan", "past", "state", "log"} <= found.keys() and json.loads(found["log"]):
                break
        assert json.loads(found["plan"])["commands"] == ["pick up the red cube", "go home"]
        assert json.loads(found["state"])["mode"] == "holding"
        assert json.loads(found["log"])[0]["why"] == "no idea"
        page.watch.close()
        for _ in events(answer):
            pass  # it ends, or this test does not


def test_a_browser_too_many_is_turned_away_and_one_that_leaves_makes_room():
    with Page() as page, Robot(), contextlib.ExitStack() as stack:
        open_ = [page.ask("/stream", **BEARER)[0] for _ in range(SEATS_MAX)]
        assert page.ask("/stream", **BEARER)[0].status == 503
        assert page.ask("/stop", "POST", "", **BEARER)[0].status == 200
        open_.pop().close()
        wait_for(lambda: _sits(page, stack), "its seat is still taken")


def _sits(page, stack) -> bool:
    answer, _ = page.ask("/stream", **BEARER)
    stack.callback(answer.close)
    return answer.status == 200


def test_prometheus_is_told_of_a_robot_and_of_none():
    with Page() as page:

        def numbers() -> dict[str, float]:
            text = page.ask("/metrics", **BEARER)[1]
            lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
            return {name: float(value) for name, _, value in lines}

        assert numbers()["edge_wam_up"] == 0
        with Robot() as robot:
            robot.record["limited"][1] = 2
            robot.record["measured_rad"][0] = 0.5
            robot.boxes.events.put(event_record("heard", "hm", ""))
            robot.boxes.events.put(event_record("heard", "go home", "home"))
            wait_for(lambda: numbers()["edge_wam_up"] == 1, "it is not up")
            found = numbers()
            assert found['edge_wam_joint_measured_radians{joint="shoulder_pan"}'] == 0.5
            assert found['edge_wam_mode{mode="holding"}'] == 1
            assert found['edge_wam_mode{mode="following"}'] == 0
            assert (found["edge_wam_refused_total"], found['edge_wam_events_total{kind="heard"}']) == (1, 2)
            ticks = found["edge_wam_tick_lateness_seconds_count"]
            assert found['edge_wam_limited_total{reason="lead"}'] == 2 * ticks
            page.ask("/stop", "POST", "", **BEARER)
            assert numbers()['edge_wam_asked_total{verb="stop"}'] == 1
        wait_for(lambda: numbers()["edge_wam_up"] == 0, "it is still up")
        assert not [name for name in numbers() if "joint=" in name]


def test_what_the_dashboard_draws_is_what_prometheus_is_told():
    files = Path(__file__).parents[2] / "edge_wam/service/files"
    board = json.loads((files / "grafana.json").read_text())
    with Page() as page, Robot():
        wait_for(lambda: b"joint=" in page.ask("/metrics", **BEARER)[1].encode(), "no joints")
        told = page.ask("/metrics", **BEARER)[1]
    for panel in board["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"edge_wam_\w+", target["expr"]):
                assert re.search(rf"^{name}[ {{]", told, re.MULTILINE), (panel["title"], name)
