"""Settings: defaults that run, and every mistake named."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wam import config, tomlfile
from edge_wam.errors import ConfigError
from edge_wam.tomlfile import Table


def load(tmp_path, text):
    path = tmp_path / "edge-wam.toml"
    path.write_text(text)
    return config.load(path)


def test_the_defaults_are_the_simulated_robot_of_this_checkout():
    made = config.load()
    assert made.source == "the defaults"
    assert made.robot.port == config.SIMULATED
    assert made.robot.control_hz == 50.0
    assert made.robot.calibration == Path(__file__).parents[1] / "calibration" / "so101-sim"
    assert (made.robot.calibration / "limits.toml").is_file()
    assert [camera.name for camera in made.cameras] == ["front", "wrist"]


def test_an_empty_file_means_the_defaults(tmp_path):
    empty, usual = load(tmp_path, ""), config.load()
    assert [getattr(empty, name) for name in empty.__slots__[1:]] == [
        getattr(usual, name) for name in usual.__slots__[1:]
    ]


def test_the_example_in_the_docstring_is_the_defaults(tmp_path):
    docstring = ast.get_docstring(ast.parse(Path(config.__file__).read_text()))
    lines = docstring.splitlines()
    text = "\n".join(line for line in lines if line.startswith("    "))
    shown, usual = load(tmp_path, "\n".join(line[4:] for line in text.splitlines())), config.load()
    assert (shown.voice, shown.cameras, shown.stale) == (usual.voice, usual.cameras, usual.stale)
    assert shown.robot.port == usual.robot.port
    assert shown.model.steps == usual.model.steps
    assert shown.robot.calibration == tmp_path / "calibration/so101-sim"


def test_folders_are_relative_to_the_file_they_stand_in(tmp_path, monkeypatch):
    made = load(
        tmp_path,
        '[model]\nfolder = "m"\n[robot]\ncalibration = "/abs/c"\n[cameras]\nfront = "a.db3"\nwrist = "12"',
    )
    assert made.model.folder == tmp_path / "m"
    assert made.robot.calibration == Path("/abs/c")
    assert [camera.source for camera in made.cameras] == [str(tmp_path / "a.db3"), "12"]
    monkeypatch.setenv("EDGE_WAM_HOME", str(tmp_path))
    assert config.load().model.folder == tmp_path / "models" / "so101-tabletop"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[robt]\n", r"unknown key 'robt' \(did you mean 'robot'\?\)"),
        (
            '[robot]\nprot = "sim"',
            r"\[robot\]: unknown key 'prot' \(did you mean 'port'\?\); known: baud_bps",
        ),
        ("[robot]\nport = 3", "port: expected a string, found 3"),
        ('[robot]\ncontrol_hz = "50"', "control_hz: expected a number, found '50'"),
        ("[robot]\ncontrol_hz = 5", r"a number in 10\.\.200, found 5"),
        ("[robot]\ncontrol_hz = nan", r"a number in 10\.\.200, found nan"),
        ("[robot]\ncontrol_hz = true", "found True"),
        ("[robot]\nbaud_bps = 1e6", "whole number, found 1000000.0"),
        ("robot = 3", "robot: expected a table, found 3"),
        (
            '[voice]\nengine = "vosc"',
            r"one of auto, vosk, pocketsphinx, whisper, found 'vosc' \(did you mean 'vosk'\?\)",
        ),
        ("[cameras]\nfront = 7", "front: expected a string"),
        ('[cameras]\nfront = ""', "serial number"),
        ("[stale]\njoints_hold_s = 2.0\njoints_stop_s = 1.0", "joints_stop_s"),
        ("[robot\n", "not TOML"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_key(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "edge-wam.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml \(No such file"):
        config.load(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(tmp_path / "binary.toml")


SCALARS = st.text() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.booleans()
LISTS = st.lists(st.floats(allow_nan=False), max_size=4) | st.lists(st.text(), max_size=3)
PLAIN = st.dictionaries(st.text(max_size=5), SCALARS | LISTS, max_size=4)
CONTENT = st.dictionaries(
    st.text(max_size=5), SCALARS | LISTS | PLAIN | st.lists(PLAIN, min_size=1, max_size=2), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(CONTENT)
def test_what_is_written_as_toml_is_read_back(content):
    text = tomlfile.dumps({**content, "deep": {"er": content}}, comment="made\nby a test")
    assert tomlfile.tomllib.loads(text) == {**content, "deep": {"er": content}}


def test_free_tables_take_strings_and_finite_numbers():
    table = Table({"a": 1, "b": "x", "c": 0.5}, "here", ConfigError)
    assert table.scalars() == {"a": 1, "b": "x", "c": 0.5}
    table.done()
    with pytest.raises(ConfigError, match="here: bad"):
        Table({"bad": [1]}, "here", ConfigError).scalars()


def test_servos_are_feetech_unless_said_and_a_slip_is_named(tmp_path):
    assert load(tmp_path, "").robot.servos == "feetech"
    assert load(tmp_path, '[robot]\nservos = "dynamixel"\nbaud_bps = 4_000_000').robot.servos == "dynamixel"
    with pytest.raises(
        ConfigError, match=r"servos: expected one of feetech, dynamixel, found 'dynamixle' \(did you"
    ):
        load(tmp_path, '[robot]\nservos = "dynamixle"')
    with pytest.raises(ConfigError, match=r"baud_bps: expected a whole number in 38400\.\.1000000"):
        load(tmp_path, "[robot]\nbaud_bps = 4_000_000")


def test_every_kind_of_servo_in_the_settings_has_its_family():
    from edge_wam.act.families import FAMILIES
    from edge_wam.safe_stop import FAMILIES as STOPPED

    assert tuple(FAMILIES) == tuple(STOPPED) == config.SERVOS


def test_a_push_to_talk_button_is_a_device_a_line_the_terminal_or_the_pages(tmp_path):
    for button in (
        "",
        "terminal",
        "/dev/input/by-id/usb-pedal-event-kbd",
        "gpiochip0:105",
        "gpiochip1:PQ.06:high",
    ):
        made = load(tmp_path, f'[voice]\nlisten = "push"\nbutton = "{button}"\nbutton_key = 57')
        assert (made.voice.listen, made.voice.button, made.voice.button_key) == ("push", button, 57)
    for wrong in ("gpio:105", "event3"):
        with pytest.raises(ConfigError, match=rf"button: expected .*input device.*found '{wrong}'"):
            load(tmp_path, f'[voice]\nbutton = "{wrong}"')
    with pytest.raises(ConfigError, match="listen: expected one of always, push"):
        load(tmp_path, '[voice]\nlisten = "hold"')
