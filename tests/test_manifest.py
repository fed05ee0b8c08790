"""The manifest: what is written is read, what is wrong is named, what disagrees is shown twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_wam import manifest as module
from edge_wam.errors import ManifestError
from edge_wam.manifest import CameraView, Command, Manifest, disagreements, refuse_disagreements, verify_files
from edge_wam.think.features import Normalisation
from edge_wam.types import JOINTS

FRONT = CameraView("front", 424, 240, 30, 240, 2)
WRIST = CameraView("wrist", 424, 240, 30, 192, 2)
COLOURS = {"red": "红色", "blue": "蓝色"}

GOOD = Manifest(
    name="test-model",
    joints=JOINTS,
    dt_s=1 / 30,
    rows=16,
    committed_rows_max=6,
    replan_s=0.2,
    cameras=(FRONT, WRIST),
    vocabulary=("", "blue", "cube", "pick", "red", "the", "up"),
    words=8,
    commands=tuple(
        Command(
            f"pick_{colour}",
            f"pick up the {colour} cube",
            {"en": (f"pick up the {colour} cube", f"grab the {colour} cube"), "zh": (f"拿起{chinese}方块",)},
        )
        for colour, chinese in COLOURS.items()
    ),
    normalisation=Normalisation(np.linspace(-1, 1, 6), np.full(6, 0.1), np.full((16, 6), 1 / 3)),
    steps=10,
    noise_std=0.5,
    precision="fp32",
    files={},
    measured={"success": 0.95, "episodes": 50, "device": "two cores"},
    parents={"teacher": "sha256:0123"},
)


@pytest.fixture
def folder(tmp_path):
    module.write(tmp_path, GOOD)
    return tmp_path


def spoil(folder, old, new):
    path = folder / module.FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        module.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read_back(folder):
    read = module.load(folder)
    for name in Manifest.__slots__:
        if name != "normalisation":
            assert getattr(read, name) == getattr(GOOD, name)
    for name in Normalisation.__slots__:
        np.testing.assert_array_equal(getattr(read.normalisation, name), getattr(GOOD.normalisation, name))
    assert [path.name for path in folder.iterdir()] == [module.FILE]


def test_what_could_not_be_read_is_not_written(folder):
    before = (folder / module.FILE).read_text()
    with pytest.raises(ManifestError, match="precision"):
        module.write(folder, dataclasses.replace(GOOD, precision="fp33"))
    assert (folder / module.FILE).read_text() == before
    assert len(list(folder.iterdir())) == 1


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"no folder .*nowhere"):
        module.load(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match=r"cannot read .*manifest\.toml"):
        module.load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", "schema: expected 1 (this version of edge-wam), found 2"),
        ("rows = 16", "rows = 15", "action_std_rad: expected 15 rows of 6"),
        ("rows = 16", "rows = 65", "1..64, found 65"),
        ("replan_s", "replan", "'replan_s' is missing (did you mean 'replan'?)"),
        ("replan_s", "extra = 1\nreplan_s", "unknown key 'extra'"),
        ("committed_rows_max = 6", "committed_rows_max = 16", "0..15, found 16"),
        ('vocabulary = [""', 'vocabulary = ["pad"', "padding"),
        ('"cube"', '"cub"', "words of the vocabulary, not 'cube'"),
        ("length = 8", "length = 4", "1 to 4 words"),
        ('id = "pick_blue"', 'id = "pick_red"', "each command once"),
        ('"grab the blue cube"', '"grab the red  Cube"', "one command each, found 'grab the red  Cube'"),
        ('name = "wrist"', 'name = "front"', "each camera once"),
        ("crop_px = 192", "crop_px = 191", "a multiple of box_px = 2, found 191"),
        ("crop_px = 240", "crop_px = 241", "1..240, found 241"),
        ("position_std_rad = [0.1", "position_std_rad = [0.0", "positive"),
        ("position_std_rad = [0.1", "position_std_rad = [nan", "list of 6 numbers"),
        ("position_std_rad = [0.1, ", "position_std_rad = [", "list of 6 numbers"),
        ('precision = "fp32"', 'precision = "fp23"', "did you mean 'fp32'"),
        ("[files]", '[files]\n"../x" = "00"', "the model's own folder"),
        ("[files]", '[files]\nx = "00"', "sha256"),
    ],
)
def test_every_mistake_is_one_line_that_names_it(folder, old, new, says):
    message = spoil(folder, old, new)
    assert says in message
    assert module.FILE in message


def test_files_are_the_ones_the_manifest_was_written_for(folder):
    (folder / "weights.safetensors").write_bytes(b"12345")
    made = dataclasses.replace(GOOD, files=module.hashes(folder, ["weights.safetensors"]))
    module.write(folder, made)
    verify_files(folder, module.load(folder))
    (folder / "weights.safetensors").write_bytes(b"12346")
    with pytest.raises(
        ManifestError, match=r"weights.safetensors is not the file.*expected sha256 5994471abb01"
    ):
        verify_files(folder, made)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ManifestError, match="is missing"):
        verify_files(folder, made)


def test_a_robot_that_fits_is_not_refused():
    assert disagreements(GOOD, JOINTS, [WRIST, FRONT, FRONT.__class__("side", 8, 8, 1, 8, 1)]) == []
    refuse_disagreements(GOOD, JOINTS, [FRONT, WRIST])


@pytest.mark.parametrize(
    ("joints", "cameras", "says"),
    [
        (
            (*JOINTS[1:], JOINTS[0]),
            (FRONT, WRIST),
            "the model has shoulder_pan, .*, the robot shoulder_lift, ",
        ),
        (JOINTS[:5], (FRONT, WRIST), "joints"),
        (JOINTS, (FRONT,), "camera 'wrist': the model wants it, the robot has front"),
        (JOINTS, (), "the robot has none"),
        (
            JOINTS,
            (dataclasses.replace(FRONT, width=640), WRIST),
            "wants 424x240 at 30 Hz, the robot has 640x240",
        ),
        (JOINTS, (dataclasses.replace(FRONT, fps=15), WRIST), "the robot has 424x240 at 15 Hz"),
    ],
)
def test_what_disagrees_with_the_robot_is_shown_with_both_values(joints, cameras, says):
    with pytest.raises(ManifestError, match=says) as caught:
        refuse_disagreements(GOOD, joints, cameras)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "language", "identity"),
    [
        ("grab the red cube", "en", "pick_red"),
        ("Pick  up the BLUE cube", "en", "pick_blue"),
        ("拿起 红色 方块", "zh", "pick_red"),
        ("拿起红色方块", None, "pick_red"),
        ("拿起红色方块", "en", None),
        ("pick_red", "en", "pick_red"),
        ("do not pick up the red cube", "en", None),
        ("pick up the red cube please", "en", None),
        ("pick up the cube", "en", None),
        ("", "en", None),
    ],
)
def test_a_command_is_known_by_its_phrases_and_by_nothing_near_them(text, language, identity):
    command = GOOD.command_of(text, language)
    assert (command and command.id) == identity


def test_phrases_by_language():
    assert GOOD.languages == ("en", "zh")
    assert len(GOOD.phrases("en")) == 4
    with pytest.raises(ManifestError, match="no phrases for language 'de'"):
        GOOD.phrases("de")


def test_the_manifest_of_every_shipped_model_is_good():
    from edge_wam.config import home

    for path in sorted(home().glob(f"models/*/{module.FILE}")):
        verify_files(path.parent, module.load(path.parent))
