"""What is exported is what was trained: the engine reproduces eager torch, from one copy of the weights."""

from __future__ import annotations

import copy
import json

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_wam import manifest as manifests
from edge_wam.errors import EngineError, ManifestError
from edge_wam.sim import tasks
from edge_wam.think.engine import FILES, GRAPHS, Engine
from edge_wam.train import export, flow
from edge_wam.train.dataset import Episodes, make_features
from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.teacher import load_normalisation

pytestmark = pytest.mark.slow  # exporting three graphs takes some twenty seconds


@pytest.fixture(scope="module")
def folder(model, drawn_data, tmp_path_factory):
    """The small model with random weights, exported."""
    work = tmp_path_factory.mktemp("export")
    save_file(model.state_dict(), work / "average.safetensors")
    scales = Episodes.load(drawn_data).normalisation()
    names = ("position_mean_rad", "position_std_rad", "action_std_rad")
    (work / "scales.json").write_text(json.dumps({name: getattr(scales, name).tolist() for name in names}))
    export.export(work / "average.safetensors", work / "scales.json", drawn_data, work / "model", "debug")
    return work / "model"


@pytest.fixture(scope="module")
def manifest(folder):
    return manifests.load(folder)


@pytest.fixture(scope="module")
def engine(folder, manifest):
    return Engine(folder, manifest)


@pytest.fixture(scope="module")
def shipped_model(folder):
    """Eager torch on the very weights shipped."""
    model = WorldActionModel(CONFIGS["debug"])
    model.load_state_dict(
        {name: value.float() for name, value in load_file(folder / "weights.safetensors").items()}
    )
    return model.eval()


def test_the_engine_reproduces_eager_torch_on_the_golden_batch(engine):
    assert engine.agreement.rows < 1e-3
    assert engine.agreement.frames < 1e-2
    assert engine.agreement.progress < 1e-3


@pytest.mark.parametrize("decided", [0, 5])
def test_the_engine_reproduces_eager_torch_on_other_observations(engine, shipped_model, drawn_data, decided):
    data = Episodes.load(drawn_data)
    batch = export.golden_batch(data, data.normalisation(), 2, seed=77)
    noise = torch.randn(1, 16, 6, generator=torch.Generator().manual_seed(1))
    committed = torch.full_like(noise, torch.nan)
    committed[:, :decided] = 0.3
    with torch.no_grad():
        context = shipped_model.context(batch.images[:1], batch.tokens[:1], batch.state[:1])
    eager, _ = flow.sample_actions(shipped_model, context, noise, 7, committed)
    seen = engine.context(batch.images[0].numpy(), batch.tokens[0].numpy(), batch.state[0].numpy())
    rows = engine.act(seen, noise[0].numpy(), 7, committed[0].numpy()).rows
    assert np.abs(rows - eager[0].numpy()).max() < 1e-3
    assert float(eager.abs().max()) > 0.1


def test_a_context_outlives_the_next_one(engine, drawn_data):
    """Outputs that the engine reused would turn one observation into another."""
    data = Episodes.load(drawn_data)
    batch = export.golden_batch(data, data.normalisation(), 2, seed=3)
    noise = np.zeros((16, 6), np.float32)

    def see(index):
        return engine.context(
            batch.images[index].numpy(), batch.tokens[index].numpy(), batch.state[index].numpy()
        )

    first = see(0)
    alone = engine.act(first, noise, 3).rows
    see(1)
    assert np.array_equal(engine.act(first, noise, 3).rows, alone)


def test_there_is_one_copy_of_the_weights(folder, manifest):
    """The graphs refer to the file; none of them holds a large tensor of its own."""
    assert set(manifest.files) == set(FILES)
    for name in GRAPHS:
        graph = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False).graph
        outside = [t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert outside
        for tensor in outside:
            assert {e.key: e.value for e in tensor.external_data}["location"] == "weights.safetensors"
        inside = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        assert max((int(np.prod(t.dims)) for t in inside), default=0) <= 48 * 48 * 2 * 2  # grids, not weights


def test_a_graph_tells_nothing_of_the_machine_that_made_it(folder):
    for name in GRAPHS:
        content = (folder / f"{name}.onnx").read_bytes()
        for trace in (b"site-packages", b".py", b"/home", b"/root", b"/work"):
            assert trace not in content


def test_a_changed_weight_is_refused(folder, manifest, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "weights.safetensors")
    weights["row_in.weight"][0, 0] += 0.5
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(ManifestError, match=r"weights\.safetensors is not the file of this manifest"):
        Engine(tmp_path, manifest)


def test_the_manifest_holds_the_scales_of_the_training(manifest, drawn_data):
    scales = Episodes.load(drawn_data).normalisation()
    assert np.allclose(manifest.normalisation.action_std_rad, scales.action_std_rad)
    assert np.allclose(manifest.normalisation.position_mean_rad, scales.position_mean_rad)
    assert manifest.parents["config"] == "debug"
    assert manifest.parents["demonstrations"] == 10


def test_the_manifest_knows_every_command_of_the_suite_in_every_language(manifest):
    assert {c.id for c in manifest.commands} == {c.id for c in tasks.commands()}
    assert all(c.phrases == tasks.command(c.id).phrases for c in manifest.commands)
    assert manifest.words == tasks.WORDS
    longest = max(len(p.split()) for c in tasks.commands() for p in tasks.training_phrases(c))
    assert longest <= manifest.words


def test_progress_is_told_as_two_chances(engine, shipped_model, drawn_data):
    data = Episodes.load(drawn_data)
    batch = export.golden_batch(data, data.normalisation(), 3, seed=5)
    with torch.no_grad():
        eager = shipped_model.context(batch.images, batch.tokens, batch.state)["progress"]
    for index in range(3):
        seen = engine.context(
            batch.images[index].numpy(), batch.tokens[index].numpy(), batch.state[index].numpy()
        )
        assert np.allclose(seen.progress, [eager[index, 0], eager[index, 1].sigmoid()], atol=1e-4)


def test_another_progress_than_the_golden_one_is_refused(engine, folder, tmp_path):
    golden = load_file(folder / "golden.safetensors")
    golden["progress"][1, 0] += 0.1
    save_file(golden, tmp_path / "golden.safetensors")
    with pytest.raises(EngineError, match=r"progress .*by 0\.1"):
        engine.verify(tmp_path / "golden.safetensors")


def test_steps_and_name_are_the_exporters_choice(model, drawn_data, tmp_path, monkeypatch):
    """A student's way: one step, another name, the same files."""
    monkeypatch.setattr(export, "export_graphs", lambda model, out, example: [
        (out / f"{name}.onnx").write_bytes(b"graph") for name in GRAPHS
    ])  # fmt: skip
    data = Episodes.load(drawn_data)
    scales = data.normalisation()
    batch = export.golden_batch(data, scales, 2, seed=0)
    export.export_model(copy.deepcopy(model), scales, batch, tmp_path, {"config": "debug"}, 1, "student")
    made = manifests.load(tmp_path)
    assert (made.steps, made.name) == (1, "student")
    assert made.files == manifests.hashes(tmp_path, FILES)


def test_the_golden_batch_is_what_the_robot_would_see(folder, drawn_data):
    """Frames as bytes, no lighting, no noise: features.py and nothing else."""
    data = Episodes.load(drawn_data)
    golden = load_file(folder / "golden.safetensors")
    assert golden["images"].dtype == torch.uint8
    states = make_features(data.normalisation()).state(
        data.arrays["position_rad"].astype(float), data.arrays["sent_rad"]
    )
    for index in range(len(golden["state"])):
        at = np.flatnonzero(np.abs(states - golden["state"][index].numpy()).max(1) < 1e-6)
        assert len(at)  # a drawn episode's last recordings are all the same
        assert np.array_equal(golden["images"][index].numpy(), data.frames[at[0]])


def test_scales_survive_the_way_through_a_file(tmp_path, drawn_data):
    scales = Episodes.load(drawn_data).normalisation()
    names = ("position_mean_rad", "position_std_rad", "action_std_rad")
    (tmp_path / "scales.json").write_text(
        json.dumps({name: getattr(scales, name).tolist() for name in names})
    )
    back = load_normalisation(tmp_path / "scales.json")
    assert all(np.array_equal(getattr(back, name), getattr(scales, name)) for name in names)
