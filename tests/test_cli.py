"""Mistakes people make: each ends in one line that says what is wrong, exit code 2, and nothing moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_wam import manifest
from edge_wam.cli import main
from edge_wam.config import home

CALIBRATION = home() / "calibration/so101-sim"
MODEL = home() / "models/so101-tabletop"


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process may even be born before the input is known to be good."""

    def born(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", born)


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """A settings file with a copy of the calibration and the model's manifest, to be spoiled."""
    shutil.copytree(CALIBRATION, tmp_path / "calibration")
    shutil.copytree(MODEL, tmp_path / "model")
    (tmp_path / "robot.toml").write_text('[robot]\ncalibration = "calibration"\n[model]\nfolder = "model"\n')
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must be refused; the one line it says."""
    assert main(argv) == 2
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("edge-wam: ")
    assert "Traceback" not in said.err + said.out
    return lines[0]


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("verb", ["demo", "run", "evaluate"])
def test_missing_model_is_named(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert "no-such-model" in refused(capsys, verb, "--model", "no-such-model")


@pytest.mark.parametrize("verb", ["demo", "evaluate"])
def test_another_joint_order_is_refused_with_both_orders(
    capsys: pytest.CaptureFixture[str], robot: Path, verb: str
) -> None:
    spoil(robot / "model/manifest.toml", '"shoulder_pan", "shoulder_lift"', '"shoulder_lift", "shoulder_pan"')
    line = refused(capsys, verb, "--config", str(robot / "robot.toml"))
    assert "shoulder_lift, shoulder_pan" in line
    assert "shoulder_pan, shoulder_lift" in line


@pytest.mark.parametrize("verb", ["demo", "evaluate"])
def test_another_camera_size_is_refused_with_both_sizes(
    capsys: pytest.CaptureFixture[str], robot: Path, verb: str
) -> None:
    spoil(robot / "model/manifest.toml", "width = 424", "width = 640")
    line = refused(capsys, verb, "--config", str(robot / "robot.toml"))
    assert "640x240" in line
    assert "424x240" in line


def test_calibration_without_a_joint_names_the_joint(capsys: pytest.CaptureFixture[str], robot: Path) -> None:
    path = robot / "calibration/arm.json"
    joints = json.loads(path.read_text())
    del joints["elbow_flex"]
    path.write_text(json.dumps(joints))
    assert "elbow_flex" in refused(capsys, "demo", "--config", str(robot / "robot.toml"))


def test_unknown_setting_proposes_the_nearest(capsys: pytest.CaptureFixture[str], robot: Path) -> None:
    spoil(robot / "robot.toml", "calibration =", "calibratoin =")
    line = refused(capsys, "demo", "--config", str(robot / "robot.toml"))
    assert "calibratoin" in line
    assert "did you mean 'calibration'" in line


def test_port_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str], robot: Path) -> None:
    spoil(robot / "robot.toml", "[robot]", '[robot]\nport = "/dev/ttyNOPE7"')
    assert "/dev/ttyNOPE7" in refused(capsys, "run", "--config", str(robot / "robot.toml"))


def test_unknown_command_proposes_the_nearest_and_one_of_each_verb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refused(capsys, "demo", "--command", "pick up the yellow cube")
    assert "pick up the yellow cube" in line
    assert "did you mean 'pick up the" in line
    commands = manifest.load(MODEL).commands
    assert {command.tokens.split()[0] for command in commands} == {
        words.split()[0] for words in line.split("such as: ")[1].split(", ")
    }


def test_negated_command_is_not_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "demo", "--command", "do not pick up the red cube")


def test_wav_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(b"not a RIFF at all")
    assert "song.wav" in refused(capsys, "demo", "--command", "pick_red", "--wav", str(tmp_path / "song.wav"))


def test_language_without_phrases_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "en" in refused(capsys, "demo", "--language", "tlh")


def test_no_episodes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "demo", "--episodes", "0")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--episodes", "0"), "--episodes"),
        (("--policy", "models/so101-tabletop@1"), "LABEL=FOLDER"),
        (("--policy", "a=no-such-model@1"), "no-such-model"),
        (("--task", "pusch"), "did you mean 'push'"),
        (("--group", "unseen"), "held_out_pair"),
        (("--seed", "100"), "seed of 0 to 99"),
        (("--delay-ms", "-1"), "--delay-ms"),
    ],
)
def test_evaluation_that_cannot_be_is_refused_before_it_begins(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, "evaluate", *argv)


def test_film_that_cannot_be_written_is_known_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    refused(capsys, "demo", "--out", str(tmp_path / "no-such-folder/demo.mp4"))


def test_recording_needs_the_words_it_is_judged_by(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "--command" in refused(capsys, "demo", "--wav", str(tmp_path / "song.wav"))


def test_what_is_said_must_be_a_command_unless_another_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dance" in refused(capsys, "demo", "--say", "dance")
