"""The shipped model in the engine that the robot runs; and that a model which is not itself is refused."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_wam import manifest as manifests
from edge_wam.errors import EngineError, ManifestError
from edge_wam.sim import tasks
from edge_wam.sim.world import READY_RAD
from edge_wam.think.engine import FILES, FRAME_TOLERANCE, ROW_TOLERANCE, Engine
from edge_wam.think.policy import WamPolicy
from edge_wam.types import JOINTS, Frame, Observation

ROOT = Path(__file__).parents[2]
NOTHING = np.zeros((0, 6))


@pytest.fixture(scope="session")
def golden(model_folder):
    return load_file(model_folder / "golden.safetensors")


@pytest.fixture
def copy(model_folder, tmp_path):
    """The model in a folder where it may be spoilt."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


@pytest.fixture
def observation(world, shipped):
    tasks.lay(world, "pick_red", 5)
    frames = tuple(Frame(view.name, world.render(view.name), 1.0, 1) for view in shipped.cameras)
    command = tasks.command("pick_red").tokens
    return Observation(frames, READY_RAD, READY_RAD, command, 1.0)


def sign(folder: Path) -> manifests.Manifest:
    """Give the files in the folder the manifest's blessing, as a wrong export would."""
    manifest = manifests.load(folder)
    signed = dataclasses.replace(manifest, files=manifests.hashes(folder, list(manifest.files)))
    manifests.write(folder, signed)
    return signed


# --- the shipped model ----------------------------------------------------------------------


def test_the_engine_reproduces_the_golden_batch(engine):
    assert 0 <= engine.agreement.rows <= ROW_TOLERANCE / 2
    assert 0 <= engine.agreement.frames <= FRAME_TOLERANCE / 2


def test_the_model_is_the_one_of_the_suite(shipped):
    assert shipped.name == tasks.SUITE
    assert shipped.joints == JOINTS
    assert shipped.vocabulary == tasks.vocabulary()
    assert {command.id for command in shipped.commands} == {command.id for command in tasks.commands()}
    assert set(shipped.files) >= set(FILES)


def test_the_model_is_a_few_megabytes(model_folder):
    assert sum(path.stat().st_size for path in model_folder.iterdir()) < 16e6


def test_the_golden_batch_is_of_real_observations(golden, shipped):
    assert golden["images"].shape[1:] == (2, 96, 96, 3)
    assert min(frame.std() for frame in golden["images"].reshape(-1, 96, 96, 3)) > 5
    decided = ~np.isnan(golden["committed"][:, :, 0])
    assert decided.any(1).tolist() == [False, True] * (len(decided) // 2)  # with rows decided, and without
    assert np.isfinite(golden["rows"]).all()
    assert golden["rows"].shape[1:] == (shipped.rows, len(JOINTS))


def test_the_same_observation_gives_the_same_chunk_whether_it_is_imagined_or_not(
    engine, shipped, observation
):
    policy = WamPolicy(shipped, engine)
    first = policy.infer(observation, NOTHING)
    imagined = policy.imagine()
    second = policy.infer(observation, NOTHING)
    assert first.shape == (shipped.rows, len(JOINTS))
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)
    assert np.array_equal(policy.imagine(), imagined)
    assert np.array_equal(WamPolicy(shipped, engine).infer(observation, NOTHING), first)


def test_the_noise_has_the_spread_that_is_asked_for_and_none_is_the_middle(engine, shipped, observation):
    asked, act = [], engine.act
    engine = SimpleNamespace(
        context=engine.context, act=lambda *given: (asked.append(given[1]), act(*given))[1]
    )
    for noise_std in (1.0, 0.5, 0.0, None):
        WamPolicy(shipped, engine, noise_std=noise_std).infer(observation, NOTHING)
    np.testing.assert_array_equal(asked[1], 0.5 * asked[0])
    assert not asked[2].any()
    np.testing.assert_array_equal(asked[3], shipped.noise_std * asked[0])


def test_decided_rows_come_back_unchanged_and_the_others_follow_them(engine, shipped, observation):
    policy = WamPolicy(shipped, engine)
    free = policy.infer(observation, NOTHING)
    decided = free[:4] + 0.05
    bound = policy.infer(observation, decided)
    assert np.abs(bound[:4] - decided).max() < 1e-6
    assert np.abs(bound[4:] - free[4:]).max() > 1e-4


def test_what_is_imagined_is_a_picture_of_each_camera(engine, shipped, observation):
    policy = WamPolicy(shipped, engine)
    assert policy.imagine() is None
    policy.infer(observation, NOTHING)
    frames = policy.imagine()
    assert frames.shape == (len(shipped.cameras), 2, 48, 48, 3)
    assert frames.dtype == np.uint8
    assert np.allclose(policy.ahead_s, [8 / 30, 16 / 30])


def test_the_command_changes_what_is_done(engine, shipped, observation, world):
    policy = WamPolicy(shipped, engine)
    chunks = [
        policy.infer(observation._replace(command=tasks.command(f"pick_{colour}").tokens), NOTHING)
        for colour in world.scene.colours
    ]
    assert np.abs(chunks[0] - chunks[1]).max() > 1e-4


def test_the_runtime_needs_no_torch(model_folder):
    program = (
        "import sys, pathlib; from edge_wam import manifest; from edge_wam.think.engine import Engine;"
        "from edge_wam.think import policy, worker;"
        "folder = pathlib.Path(sys.argv[1]); Engine(folder, manifest.load(folder));"
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'torch' or m.startswith(('edge_wam.train',"
        " 'edge_wam.sim'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model_folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# --- models that are not themselves ---------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_one_flipped_bit_is_refused(copy, shipped, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ManifestError, match=f"{name} is not the file of this manifest"):
        Engine(copy, shipped)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(copy, shipped, name):
    (copy / name).unlink()
    with pytest.raises(ManifestError, match=f"{name} is missing"):
        Engine(copy, shipped)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_manifest_does_not_vouch_for_is_refused(copy, shipped, name):
    files = {key: value for key, value in shipped.files.items() if key != name}
    with pytest.raises(EngineError, match=name):
        Engine(copy, dataclasses.replace(shipped, files=files))


def test_other_weights_are_refused_though_their_hash_is_right(copy):
    weights = load_file(copy / "weights.safetensors")
    name = max((n for n in weights if n.startswith("hint")), key=lambda n: weights[n].size)
    weights[name] = weights[name] * np.float16(1.5)
    save_file(weights, copy / "weights.safetensors")
    with pytest.raises(EngineError, match="does not reproduce the golden batch"):
        Engine(copy, sign(copy))


def spoilt_rows(golden):
    rows = golden["rows"].copy()
    rows[-1, -1, -1] += 2 * ROW_TOLERANCE
    return {"rows": rows}


def not_a_number(golden):
    rows = golden["rows"].copy()
    rows[0, 0, 0] = np.nan
    return {"rows": rows}


def spoilt_frames(golden):
    return {"frames": golden["frames"] + np.float16(2 * FRAME_TOLERANCE)}


def another_command(golden):
    return {"tokens": np.roll(golden["tokens"], 1, axis=0)}  # each is told what another was


def nothing_decided(golden):
    return {"committed": np.full_like(golden["committed"], np.nan)}


@pytest.mark.parametrize(
    "spoil", [spoilt_rows, not_a_number, spoilt_frames, another_command, nothing_decided]
)
def test_other_answers_than_the_golden_ones_are_refused(engine, golden, tmp_path, spoil):
    save_file(golden | spoil(golden), tmp_path / "golden.safetensors")
    with pytest.raises(EngineError, match="does not reproduce the golden batch"):
        engine.verify(tmp_path / "golden.safetensors")


def test_an_empty_golden_batch_proves_nothing(engine, golden, tmp_path):
    save_file({name: value[:0] for name, value in golden.items()}, tmp_path / "golden.safetensors")
    with pytest.raises(EngineError, match="is empty"):
        engine.verify(tmp_path / "golden.safetensors")


def test_half_a_graph_is_refused(copy):
    content = (copy / "act.onnx").read_bytes()
    (copy / "act.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match=r"act\.onnx cannot be compiled"):
        Engine(copy, sign(copy))
