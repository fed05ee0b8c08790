"""Datasets in LeRobot's layout: written, read back by us, and by LeRobot where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from record_rig import CALIBRATION, COMMAND

from edge_wam.cli import main
from edge_wam.errors import EdgeWamError
from edge_wam.record import lerobot
from edge_wam.record.episodes import NAMES, RATE_HZ, Scale, episodes_of
from edge_wam.record.lerobot import ACTION, STATE, Episode, open_dataset
from edge_wam.record.reading import read
from edge_wam.train import shards
from edge_wam.train.data import CHUNK_DT_S, RECORD_S, save_episodes
from edge_wam.train.data import Episode as Demonstration

LEROBOT = Path(sys.prefix) / "lerobot"
SCALE = Scale(CALIBRATION)


def pictures(count: int, seed: int, size: int = 96) -> np.ndarray:
    """Smooth, and each another, so that a neighbour is not taken for it."""
    y, x = np.mgrid[0:size, 0:size] / size
    shade = [
        np.stack([x * 255, y * 255, np.full_like(x, (seed * 90 + 37 * i) % 256)], -1) for i in range(count)
    ]
    return np.array(shade).astype(np.uint8)


def demonstration(count: int, seed: int, command: str) -> Demonstration:
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=(count, *shape)).astype(np.float32)

    place = some(5)
    place[0] = np.nan
    return Demonstration(
        np.stack([pictures(count, seed), pictures(count, seed + 1)], axis=1),
        some(6), some(6), some(16, 6), some(5), place, rng.random((count, 2)).astype(np.float32),
        rng.random(count) > 0.3, rng.random(count) > 0.3, command,
    )  # fmt: skip


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    """Three demonstrations, exported: (their shards, the dataset)."""
    folder = tmp_path_factory.mktemp("demonstrated")
    save_episodes(
        folder / "shards",
        7,
        [demonstration(9, 0, "pick_red"), demonstration(14, 2, "home"), demonstration(5, 4, "pick_red")],
    )
    assert main(["dataset", "export", str(folder / "shards"), "--out", str(folder / "set")]) == 0
    return folder / "shards", folder / "set"


def test_what_goes_out_as_a_dataset_comes_in_as_the_same_shards(demonstrated, tmp_path):
    """All numbers and labels exactly, angles to a microradian; pictures as good as the video."""
    before_frames, before = shards.load(demonstrated[0], "episodes")
    assert main(["dataset", "import", str(demonstrated[1]), "--out", str(tmp_path / "back")]) == 0
    frames, after = shards.load(tmp_path / "back", "episodes")
    assert after.keys() == before.keys()
    for name, values in before.items():
        if name == "position_rad":
            assert np.abs(after[name] - values).max() < 1e-6
        else:
            np.testing.assert_array_equal(after[name], values, err_msg=name)
    assert frames.shape == before_frames.shape
    every = np.arange(len(frames))
    assert np.abs(frames[every].astype(int) - before_frames[every]).mean() < 4
    # ... and each is its own, not its neighbour: they differ by 37 levels of blue.
    assert np.abs(frames[every].astype(int) - before_frames[every])[..., 2].mean(axis=(2, 3)).max() < 12


def test_its_files_are_where_lerobot_looks_for_them(demonstrated):
    root = demonstrated[1]
    info = json.loads((root / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == (
        "v3.0",
        7.5,
        3,
        28,
    )
    assert info["features"][ACTION] == {"dtype": "float32", "shape": [6], "names": list(NAMES)}
    table = pq.read_table(root / "data/chunk-000/file-000.parquet").to_pydict()
    assert table["index"] == list(range(28))
    assert table["frame_index"] == [*range(9), *range(14), *range(5)]
    assert table["task_index"] == [0] * 9 + [1] * 14 + [0] * 5
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    front = "videos/observation.images.front"
    assert [(row[f"{front}/from_timestamp"], row["dataset_from_index"]) for row in rows] == [
        (0.0, 0),
        (pytest.approx(9 / 7.5), 9),
        (pytest.approx(23 / 7.5), 23),
    ]
    stats = json.loads((root / "meta" / "stats.json").read_text())
    everything = np.array(table[STATE])
    np.testing.assert_allclose(stats[STATE]["mean"], everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats[STATE]["std"], everything.std(0), rtol=1e-5)
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)
    with av.open(str(root / "videos/observation.images.front/chunk-000/file-000.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == 28


def test_a_recording_is_an_episode_for_each_command(recorded, tmp_path):
    flown = read(recorded)
    found = list(episodes_of(flown, SCALE))
    assert [one.task for one in found] == [COMMAND]  # the second one was parked after a second
    one = found[0]
    assert one.frames == pytest.approx(2.0 * RATE_HZ, abs=1)
    rows = SCALE.back(one.columns[ACTION].astype(np.float64))
    sent = flown.ticks["sent_rad"]
    assert all(np.abs(sent - row).max(axis=1).min() < 1e-5 for row in rows)
    state = SCALE.back(one.columns[STATE].astype(np.float64))
    assert np.abs(state - rows).max() < 0.5
    assert np.abs(np.diff(state, axis=0)).max() > 0.01
    assert set(one.images) == {"front", "wrist"}
    assert one.images["front"].shape[1:] == (240, 424, 3)


def test_a_recording_becomes_shards_by_way_of_a_dataset(recorded, tmp_path):
    """A dataset that was not ours: labels from the actions alone."""
    assert main(["dataset", "export", str(recorded), "--out", str(tmp_path / "set")]) == 0
    assert main(["dataset", "import", str(tmp_path / "set"), "--out", str(tmp_path / "shards")]) == 0
    frames, arrays = shards.load(tmp_path / "shards", "episodes")
    (one,) = episodes_of(read(recorded), SCALE)
    assert frames.shape == (len(arrays["position_rad"]), 2, 96, 96, 3)
    assert list(arrays["command"]) == ["pick_red"]
    actions = SCALE.back(one.columns[ACTION].astype(np.float64))
    every = round(RECORD_S * RATE_HZ)
    for number in (0, 3, 7):
        due = number * every + CHUNK_DT_S * RATE_HZ * np.arange(16)
        expected = [np.interp(due, np.arange(len(actions)), actions[:, j]) for j in range(6)]
        np.testing.assert_allclose(arrays["target_rad"][number], np.transpose(expected), atol=1e-5)
    np.testing.assert_allclose(arrays["sent_rad"][3], actions[3 * every - 1], atol=1e-5)
    assert np.isnan(arrays["key_rad"]).all()
    assert arrays["progress"][-1, 1] == 1.0
    assert (np.diff(arrays["progress"][:, 0]) >= 0).all()


def test_angles_are_lerobots_there_and_radians_here():
    zero = np.zeros(6)
    assert (SCALE.out(zero) == 0).all()
    right = SCALE.out(np.array([np.pi / 2, 0, 0, 0, 0, 0]))
    assert right[0] == pytest.approx(90)
    full = CALIBRATION.to_rad(np.array([joint.range_max for joint in CALIBRATION.joints]))
    assert SCALE.out(full)[-1] == pytest.approx(100)
    rad = np.linspace(-1, 1, 6)
    np.testing.assert_allclose(SCALE.back(SCALE.out(rad)), rad)


def small(task: str, cameras: tuple[str, ...] = ("front", "wrist"), count: int = 8) -> Episode:
    numbers = np.zeros((count, 6), np.float32)
    return Episode(task, {STATE: numbers, ACTION: numbers}, {name: pictures(count, 0) for name in cameras})


@pytest.mark.parametrize(
    ("made", "fps", "names", "says"),
    [
        (small("pick up the red cube"), 7.5, ("a", "b", "c", "d", "e", "f"), "is it another arm's"),
        (small("pick up the red cube", ("front",)), 7.5, NAMES, "wants wrist"),
        (small("pick up the red cube"), 10, NAMES, "multiple of 7.5"),
        (small("water the plants"), 7.5, NAMES, "no episode of"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_the_reason(tmp_path, capsys, made, fps, names, says):
    lerobot.write(tmp_path / "set", [made], fps, {STATE: names, ACTION: names}, "so101_follower")
    assert main(["dataset", "import", str(tmp_path / "set"), "--out", str(tmp_path / "shards")]) == 2
    assert says in capsys.readouterr().err
    assert not list((tmp_path / "shards").glob("*.npz")) if (tmp_path / "shards").exists() else True


def test_nothing_is_written_over_and_nothing_half_is_left(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(EdgeWamError, match="is there already"):
        lerobot.write(tmp_path / "set", [], 15, {}, "x")
    with pytest.raises(EdgeWamError, match="no episode"):
        lerobot.write(tmp_path / "other", [], 15, {}, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_older_dataset_is_refused_with_what_to_try(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text('{"codebase_version": "v2.1"}')
    with pytest.raises(EdgeWamError, match=r"v2\.1, expected v3\.0"):
        open_dataset(tmp_path)


READ_BACK = """
import importlib.machinery, json, sys, types
sys.path.insert(0, sys.argv[2])
# LeRobot imports torchvision whatever it is asked; there is none for every torch. Videos are read below.
for name in ("torchvision", "torchvision.transforms", "torchvision.io"):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("mine", root=sys.argv[1], video_backend="pyav")
import av
shown = []
for index in range(len(data)):
    item = data.hf_dataset[index]
    row = data.meta.episodes[int(item["episode_index"])]
    key = data.meta.video_keys[0]
    asked_s = row[f"videos/{key}/from_timestamp"] + float(item["timestamp"])
    with av.open(str(data.root / data.meta.get_video_file_path(int(item["episode_index"]), key))) as file:
        best = min(file.decode(video=0), key=lambda frame: abs(frame.time - asked_s))
    assert abs(best.time - asked_s) < data.tolerance_s, (best.time, asked_s)
    shown.append(float(best.to_ndarray(format="rgb24")[..., 2].mean()))
print(json.dumps({
    "episodes": data.num_episodes, "frames": len(data), "tasks": list(data.meta.tasks.index),
    "state": data.hf_dataset[3]["observation.state"].tolist(), "blue": shown,
    "rows": list(data.hf_dataset[3].get("edge_wam.target_rad").shape),
    "mean": data.meta.stats["action"]["mean"].tolist(),
}))
"""


@pytest.mark.slow
def test_lerobot_itself_reads_it(demonstrated):
    if not (LEROBOT / "lerobot" / "datasets").is_dir() or not (LEROBOT / "datasets").is_dir():
        pytest.skip("LeRobot is not installed with what its datasets need (tests/lerobot.txt)")
    words = [sys.executable, "-c", READ_BACK, str(demonstrated[1]), str(LEROBOT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    frames, arrays = shards.load(demonstrated[0], "episodes")
    assert (told["episodes"], told["frames"], told["tasks"]) == (3, 28, ["pick up the red cube", "go home"])
    np.testing.assert_allclose(
        told["state"], SCALE.out(arrays["position_rad"][3].astype(np.float64)), rtol=1e-5
    )
    assert told["rows"] == [16, 6]
    np.testing.assert_allclose(told["blue"], frames[np.arange(28)][:, 0, ..., 2].mean(axis=(1, 2)), atol=12)
