"""The doctor: what is well, what could be better and what stops the robot; each with what to do."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_wam import config, telemetry
from edge_wam.cli import main
from edge_wam.config import CameraConfig
from edge_wam.errors import CameraError, EdgeWamError
from edge_wam.sense import realsense
from edge_wam.service import doctor, looks


@pytest.mark.slow
def test_the_simulated_robot_is_well_and_says_so_line_by_line(capsys):
    assert main(["doctor", "--json", "--set", "voice.missing=allow"]) == 0
    findings = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(findings) == {what for what, _ in doctor.LOOKS}
    assert not [one for one in findings.values() if one["state"] == "FAIL"]
    assert "golden batch reproduced" in findings["model"]["text"]
    assert findings["servo bus"] == {"what": "servo bus", "state": "ok", "text": "simulated"}


@pytest.mark.slow
def test_one_thing_that_fails_fails_the_whole_and_is_named(capsys):
    assert main(["doctor", "--set", "robot.port=/dev/nowhere"]) == 1
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "servo bus" in line)
    assert line.startswith("FAIL")
    assert "/dev/nowhere cannot be opened" in line
    assert out.count("\n") == len(doctor.LOOKS) + 1  # the rest is looked at all the same
    assert re.fullmatch(r"The robot cannot start: .*servo bus.*\.", out.splitlines()[-1])


def lacking(*names):
    def found(name):
        if name in names:
            raise PackageNotFoundError(name)
        return version(name)

    return found


def test_a_package_that_is_not_there_is_named_with_its_remedy():
    with pytest.raises(EdgeWamError, match="missing: numpy; try: pip install numpy") as error:
        looks.packages(lacking("numpy"))
    assert not isinstance(error.value, looks.Imperfect)
    with pytest.raises(looks.Imperfect, match="missing: sounddevice"):
        looks.packages(lacking("sounddevice"))
    assert "numpy" in looks.packages(lacking("vosk"))  # one recogniser is enough
    with pytest.raises(looks.Imperfect, match="missing: vosk, pocketsphinx"):
        looks.packages(lacking("vosk", "pocketsphinx"))


@pytest.mark.parametrize(
    ("mode", "well"), [("NV Power Mode: MAXN_SUPER", True), ("NV Power Mode: 15W", False)]
)
def test_a_jetson_that_saves_power_is_told_how_to_stop(tmp_path, monkeypatch, mode, well):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: x\n"
    )
    (tmp_path / "etc/os-release").write_text('PRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    monkeypatch.setattr(looks, "_first_line", lambda words: mode)
    if well:
        assert looks.machine(tmp_path).endswith(f"JetPack 6 (L4T 36.4.3), {mode}")
        return
    with pytest.raises(looks.Imperfect, match="15W; full speed: sudo nvpmodel -m 0"):
        looks.machine(tmp_path)


def test_what_the_kernel_does_not_give_is_said(monkeypatch):
    class Refused:
        def __init__(self, say):
            say("no SCHED_FIFO: not permitted")

        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(looks, "realtime", Refused)
    with pytest.raises(looks.Imperfect, match="no SCHED_FIFO"):
        looks.real_time()


def test_little_room_is_said_with_where(monkeypatch, tmp_path):
    monkeypatch.setattr(looks.shutil, "disk_usage", lambda where: SimpleNamespace(free=100 << 20))
    with pytest.raises(looks.Imperfect, match=f"100 MB free in {tmp_path}"):
        looks.room(tmp_path / "not" / "there" / "yet", tmp_path)


@pytest.mark.parametrize(("wait", "well"), [("1", True), ("16", False)])
def test_an_adapter_that_waits_is_told_not_to(tmp_path, wait, well):
    timer = tmp_path / "ttyUSB0" / "device" / "latency_timer"
    timer.parent.mkdir(parents=True)
    timer.write_text(f"{wait}\n")
    usual = config.load()
    ours = replace(usual, robot=replace(usual.robot, port="/dev/ttyUSB0"))
    if well:
        assert looks.adapter(ours, tmp_path) == "ttyUSB0 waits 1 ms for more bytes"
        return
    with pytest.raises(looks.Imperfect, match=f"waits 16 ms .* echo 1 . sudo tee {timer}"):
        looks.adapter(ours, tmp_path)


class Camera:
    def __init__(self, serial, usb):
        self.told = {
            "serial_number": serial,
            "name": "D435",
            "firmware_version": "5.16",
            "usb_type_descriptor": usb,
        }

    def supports(self, what):
        return True

    def get_info(self, what):
        return self.told[what]


def plugged(monkeypatch, *there):
    kinds = SimpleNamespace(**{name: name for name in looks._INFO})
    context = SimpleNamespace(query_devices=lambda: there)
    monkeypatch.setattr(realsense, "sdk", lambda: SimpleNamespace(context=lambda: context, camera_info=kinds))


def seeing(*sources):
    names = ("front", "wrist")
    return replace(config.load(), cameras=tuple(map(CameraConfig, names, sources)))


def test_cameras_are_found_by_serial_number(monkeypatch):
    plugged(monkeypatch, Camera("111", "3.2"), Camera("222", "3.2"))
    assert looks.cameras(seeing("111", "222")).startswith(
        "front: D435 111, firmware 5.16, USB 3.2; wrist: D435 222"
    )
    with pytest.raises(CameraError, match=r"camera 'wrist' \(333\) is not plugged in; there is: 111, 222"):
        looks.cameras(seeing("111", "333"))


def test_a_camera_on_usb_2_is_said(monkeypatch):
    plugged(monkeypatch, Camera("111", "2.1"), Camera("222", "3.2"))
    with pytest.raises(looks.Imperfect, match="front in a USB 2 port"):
        looks.cameras(seeing("111", "222"))


def test_a_recording_that_is_not_there_is_no_camera(tmp_path):
    with pytest.raises(CameraError, match="no recording"):
        looks.cameras(seeing(str(tmp_path / "a.db3"), "sim-wrist"))


@pytest.mark.parametrize(
    ("scenario", "well", "said"),
    [
        ("well", True, r"USB Mic: - \(hw:1,0\), 16000 Hz, -4\d dBFS$"),
        ("quiet", False, "gives nothing but silence; muted"),
        ("faint", False, r"hardly heard \(-100 dBFS\)"),
        ("shouted", False, "too loud"),
        (
            "absent",
            False,
            "^voice.device: no microphone 'nowhere'; found: USB Mic.*; without one it starts only",
        ),
        ("unplugged", False, "microphone lost"),
    ],
)
def test_the_microphone_is_listened_to(scenario, well, said, tmp_path):
    """Its ear is tests/sense/ears.py: what it tells, it tells through the pipe."""
    ear = (
        sys.executable,
        str(Path(__file__).parents[1] / "sense/ears.py"),
        scenario,
        str(tmp_path / "lives"),
    )
    if well:
        assert re.search(said, looks.microphone(config.load(), ear, 0.5))
        return
    with pytest.raises(EdgeWamError, match=said) as error:
        looks.microphone(config.load(), ear, 0.5)
    assert isinstance(error.value, looks.Imperfect) == (scenario != "absent")  # then it does not start


def test_a_robot_that_may_start_without_a_microphone_is_only_warned(tmp_path):
    ear = (
        sys.executable,
        str(Path(__file__).parents[1] / "sense/ears.py"),
        "absent",
        str(tmp_path / "lives"),
    )
    usual = config.load()
    with pytest.raises(looks.Imperfect, match="no microphone 'nowhere'"):
        looks.microphone(replace(usual, voice=replace(usual.voice, missing="allow")), ear, 0.5)


def test_what_a_robot_that_runs_has_is_left_to_it(monkeypatch, capsys):
    usual = config.load()
    ours = replace(usual, robot=replace(usual.robot, name="doctored", port="/dev/nowhere"))
    monkeypatch.setattr(
        doctor, "LOOKS", tuple(one for one in doctor.LOOKS if one[0] in ("settings", "servo bus"))
    )
    assert doctor.examine(ours) == 1
    with contextlib.ExitStack() as stack:
        telemetry._alone("doctored", stack)  # as a robot does when it starts
        assert telemetry.runs("doctored")
        assert not telemetry.runs("another")
        assert doctor.examine(ours) == 0
    assert not telemetry.runs("doctored")
    last = capsys.readouterr().out.splitlines()[-3:]
    assert "the defaults" in last[0]  # what is nobody's alone is looked at all the same
    assert "not looked at: robot 'doctored' runs" in last[1]
    assert last[2] == "The robot can start."


def jetson(root, release="36", python=None, monkeypatch=None):
    (root / "etc").mkdir(exist_ok=True)
    text = f"# R{release} (release), REVISION: 4.3, GCID: 38968081, BOARD: x\n"
    (root / "etc/nv_tegra_release").write_text(text)
    if monkeypatch is not None:
        monkeypatch.setattr(looks.platform, "python_version_tuple", lambda: (*python.split("."), "1"))


def versions(**there):
    def found(name):
        return there.get(name.replace("-", "_")) or version(name)

    return found


@pytest.mark.parametrize(
    ("release", "python", "torch", "numpy", "said"),
    [
        ("36", "3.10", "2.8.0", "1.26.4", ""),
        ("39", "3.12", "2.12.1", "1.26.4", ""),
        ("36", "3.12", "2.8.0", "1.26.4", "for JetPack 6: Python 3.12, expected 3.10; try: pip install"),
        ("36", "3.10", "2.13.0", "1.26.4", "torch 2.13.0, expected 2.8"),
        ("36", "3.10", "2.8.0", "2.1.0", "numpy 2.1.0, expected 1"),
        ("35", "3.10", "2.8.0", "1.26.4", "nothing is known of L4T 35"),
    ],
)
def test_what_does_not_go_with_a_jetpack_is_named(tmp_path, monkeypatch, release, python, torch, numpy, said):
    jetson(tmp_path, release, python, monkeypatch)
    found = versions(torch=torch, torch_tensorrt=torch, numpy=numpy)
    if not said:
        assert numpy in looks.packages(found, tmp_path)
        return
    with pytest.raises(looks.Imperfect, match=said):
        looks.packages(found, tmp_path)


def test_a_jetson_without_its_torch_is_told_so(tmp_path, monkeypatch):
    jetson(tmp_path, "36", "3.10", monkeypatch)
    with pytest.raises(looks.Imperfect, match=r"no torch-tensorrt, expected 2\.8\.\*"):
        looks.packages(lacking("torch", "torch-tensorrt"), tmp_path)


@pytest.mark.parametrize(("least", "well"), [("1984000", True), ("729600", False)])
def test_a_jetson_whose_clocks_fall_is_told_to_hold_them(tmp_path, least, well):
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    for name, text in (("governor", "schedutil"), ("min_freq", least), ("max_freq", "1984000")):
        (folder / f"scaling_{name}").write_text(f"{text}\n")
    assert "2.0 GHz by 'schedutil'" in looks.clocks(tmp_path)  # on any other machine it may fall
    jetson(tmp_path)
    if well:
        assert looks.clocks(tmp_path) == "2.0 to 2.0 GHz by 'schedutil'"
        return
    with pytest.raises(
        looks.Imperfect, match=r"0\.7 to 2\.0 GHz by 'schedutil': slower .* sudo jetson_clocks"
    ):
        looks.clocks(tmp_path)


@pytest.mark.parametrize(
    ("uname", "said"),
    [
        ("#1 SMP PREEMPT_RT Debian 6.1.176-1", "PREEMPT_RT"),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026)", "PREEMPT_DYNAMIC"),
        ("#1 SMP PREEMPT Tue Jan 7 2025", "PREEMPT"),
        ("#26-Ubuntu SMP Fri", "not preemptible"),
    ],
)
def test_how_far_a_kernel_can_be_interrupted(uname, said):
    assert looks.preemption(uname) == said


def test_a_push_to_talk_button_is_looked_for(tmp_path):
    usual = config.load()

    def look(may_command=False, **voice):
        web = replace(usual.web, may_command=may_command)
        return looks.button(replace(usual, web=web, voice=replace(usual.voice, **voice)))

    assert look() == "not wanted: it always listens"
    with pytest.raises(looks.Imperfect, match="nobody can say a command"):
        look(listen="push")
    assert look(listen="push", button="terminal") == "the space bar of edge-wam run's terminal"
    assert look(may_command=True, listen="push") == "the page's"
    (tmp_path / "event3").touch()
    pedal = str(tmp_path / "event3")
    assert look(True, listen="push", button=pedal) == f"{pedal}, any key; the page's"
    with pytest.raises(EdgeWamError, match=r"no .*event4; there is: event3") as error:
        look(True, listen="push", button=str(tmp_path / "event4"))
    assert not isinstance(error.value, looks.Imperfect)


def test_likeness_is_no_reason_not_to_start():
    usual = config.load()
    assert looks.likeness(replace(usual, voice=replace(usual.voice, language="zh"))) == "none: only in 'en'"
    assert looks.likeness(usual)


def test_a_wake_word_is_heard_by_an_ear_of_its_own_or_by_the_recogniser():
    usual = config.load()

    def told(word):
        return looks.wake_word(replace(usual, voice=replace(usual.voice, wake=word)))

    assert told("") == "none: every command counts"
    assert told("Robot").startswith("'robot', by the recogniser (only okay nabu, ")
    by = "an ear of its own" if importlib.util.find_spec("pymicro_wakeword") else "the recogniser (no pymicro"
    assert told("Hey Jarvis").startswith(f"'hey jarvis', by {by}")
