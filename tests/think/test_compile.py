"""`edge-wam compile`: an engine is found by what it was built from; it is whole, or not there at all."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_wam import manifest as manifests
from edge_wam.cli import main
from edge_wam.errors import EngineError, ManifestError
from edge_wam.think import choice, compile, gate, store
from edge_wam.think.backend import GRAPHS, OpenVino, Settings
from edge_wam.think.choice import open_engine
from edge_wam.think.machine import machine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spoilt(built, tmp_path):
    """A copy of the state directory that may be spoilt, and its engine."""
    root, target = built
    copy = Path(shutil.copytree(root, tmp_path / "state"))
    return copy, copy / target.relative_to(root)


def opened(model_folder, root):
    said = []
    return open_engine(model_folder, root=root, say=said.append), said


def test_what_was_compiled_is_what_runs_and_answers_to_the_bit(built, model_folder):
    (_, engine, what), said = opened(model_folder, built[0])
    kept = store.read(built[1], store.key_of(store.variants(model_folder)))
    assert what.endswith("compiled here")
    assert said == []
    answer = gate.examine(engine, model_folder / "golden.safetensors").answer
    assert answer == kept.measured["answer"]
    assert (built[1] / "table.md").read_text().count("**chosen**") == 1


def test_without_a_compiled_engine_the_graphs_run_and_nothing_is_complained_of(model_folder, tmp_path):
    (_, engine, what), said = opened(model_folder, tmp_path)
    assert what.endswith("not compiled")
    assert engine.settings == Settings("fp32", 1)
    assert said == []


def test_a_setting_that_kills_openvino_is_a_row_of_the_table(model_folder, tmp_path, monkeypatch):
    """As 2026.4 is killed by bf16 on one thread, where the processor has it."""
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    manifest = manifests.load(model_folder)
    one = compile.Candidate(model_folder.name, Settings("bf16", 1), "bf16")
    line, engine = compile._try(
        one, model_folder.parent, manifest, model_folder / "golden.safetensors", tmp_path
    )
    assert engine is None
    assert line.why.startswith("OpenVINO is killed (SIGSEGV) when it compiles")
    with pytest.raises(EngineError, match="bf16, 1 thread; try: another number of threads"):
        OpenVino(model_folder, Settings("bf16", 1))
    half = compile.Candidate(model_folder.name, Settings("bf16", 1), "int8")
    took, engine = compile.opened(half, model_folder.parent, manifest)
    assert took.settings == engine.settings == Settings("fp32", 1)  # so is what is int8 not lost with it


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["header", "middle", "tail"])
@pytest.mark.parametrize("name", [f"{name}.blob" for name in GRAPHS])
def test_a_compiled_file_with_a_flipped_bit_is_not_loaded(spoilt, model_folder, name, where):
    _, folder = spoilt
    content = bytearray((folder / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(EngineError, match=rf"{name} is not what was compiled: expected sha256 \w+"):
        store.read(folder, store.key_of(store.variants(model_folder)))


def cut(folder):
    (folder / "act.blob").write_bytes((folder / "act.blob").read_bytes()[:-100])
    return "is not what was compiled"


def lost(folder):
    (folder / "dream.blob").unlink()
    return "is missing"


def half_a_record(folder):
    text = (folder / store.FILE).read_text()
    (folder / store.FILE).write_text(text[: len(text) // 2])
    return "engine"


def another_processor(folder):
    text = (folder / store.FILE).read_text()
    (folder / store.FILE).write_text(text.replace("processor = ", 'processor = "Another", was = ', 1))
    return "engine"


def another_answer(folder):
    text = (folder / store.FILE).read_text()
    before, answer = text.split('answer = "')
    (folder / store.FILE).write_text(f'{before}answer = "{"0" * 12}{answer[12:]}')
    return "answers otherwise than when it was built: expected 000000000000"


@pytest.mark.parametrize("spoil", [cut, lost, half_a_record, another_processor, another_answer])
def test_a_refused_engine_is_said_loudly_and_the_graphs_take_its_place(spoilt, model_folder, spoil):
    root, folder = spoilt
    reason = spoil(folder)
    (_, engine, what), said = opened(model_folder, root)
    assert what.endswith("not compiled")
    assert len(said) == 1
    assert reason in said[0]
    assert "edge-wam compile" in said[0]
    assert np.isfinite(engine.agreement.rows)


def test_another_processor_or_another_openvino_has_another_key(model_folder, monkeypatch):
    every = store.variants(model_folder)
    ours = store.key_of(every)
    for name in ("openvino", "processor", "abilities", "gpu", "torch", "torch_tensorrt", "tensorrt", "l4t"):
        parts = machine() | {name: "another"}
        monkeypatch.setattr(store, "machine", lambda parts=parts: parts)
        other = store.key_of(every)
        assert other.sha256 != ours.sha256
        assert other.difference(ours.parts).startswith(f"{name} is another, the engine was built for")


def test_other_weights_have_another_key(model_folder, shipped):
    every = {model_folder.name: shipped}
    files = dict(shipped.files) | {"weights.safetensors": "0" * 64}
    import dataclasses

    other = {model_folder.name: dataclasses.replace(shipped, files=files)}
    assert store.key_of(every).sha256 != store.key_of(other).sha256


def test_a_variant_is_found_by_the_weights_it_was_made_from(model_folder, tmp_path, shipped):
    import dataclasses

    shutil.copytree(model_folder, tmp_path / "model")
    for name, sha256 in (("ours", shipped.files["weights.safetensors"]), ("not-ours", "0" * 64)):
        (tmp_path / name).mkdir()
        parents = dict(shipped.parents) | {store.VARIANT: sha256}
        manifests.write(tmp_path / name, dataclasses.replace(shipped, parents=parents))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / manifests.FILE).write_text("schema = ")
    assert list(store.variants(tmp_path / "model")) == ["model", "ours"]


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_engine(spoilt, model_folder, monkeypatch):
    root, folder = spoilt
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self, where):
        (where / "act.blob").write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OpenVino, "save", full)
    with pytest.raises(EngineError, match=r"No space left on device; try: free some space"):
        compile.build(model_folder, root, threads=1, rounds=1, quiet=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_cannot_be_written_is_one_clear_line(model_folder, tmp_path, capsys):
    (tmp_path / "state").write_text("a file, where a folder is to be")
    words = ["compile", "--model", str(model_folder), "--state", str(tmp_path / "state"), "--rounds", "1"]
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert "edge-wam: the engine cannot be written to" in said.splitlines()[-1]


def test_an_unknown_precision_names_what_there_is(model_folder, tmp_path):
    with pytest.raises(EngineError, match=r"nothing of 'fp8' can be run here; there is: .*fp32"):
        compile.build(model_folder, tmp_path, precision="fp8", quiet=True)


def test_a_model_that_is_not_itself_is_refused_before_anything_is_built_and_once(model_folder, tmp_path):
    copy = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (copy / "act.onnx").write_bytes(b"another")
    with pytest.raises(ManifestError, match=r"act\.onnx is not the file of this manifest"):
        compile.build(copy, tmp_path / "state", quiet=True)
    assert not (tmp_path / "state").exists()


def test_candidates_that_fail_for_one_reason_are_named_together(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(compile, "opened", lambda one, *_: (_ for _ in ()).throw(EngineError("too tired")))
    with pytest.raises(
        EngineError, match=r"fp32, 1 thread / fp32, 1 thread, GELU apart / .*: too tired$"
    ) as e:
        compile.build(model_folder, tmp_path, threads=1, quiet=True)
    assert str(e.value).count("too tired") == 1
    assert list((tmp_path / "engines").iterdir()) == []


def test_a_gpu_does_without_openvino_and_a_processor_does_not(model_folder, no_openvino, monkeypatch):
    every = store.variants(model_folder)
    with pytest.raises(EngineError, match="package openvino"):
        compile.candidates(every, "", 1)
    monkeypatch.setattr(compile, "has_gpu", lambda: True)
    assert {one.settings.runtime for one in compile.candidates(every, "", 1)} == {"torch-cuda"}


@pytest.mark.slow
def test_a_tensorrt_engine_is_built_once_for_both_ways_to_run_it(model_folder, tmp_path, monkeypatch):
    """As far as it goes without a GPU: both are built for, and neither can be loaded."""
    from edge_wam.train import tensorrt

    built = []

    def build(model, examples, out):
        built.append(out.name)
        for name in GRAPHS:
            (out / f"{name}.ep").write_bytes(b"")

    monkeypatch.setattr(tensorrt, "build", build)
    monkeypatch.setattr(compile, "has_gpu", lambda: True)
    monkeypatch.setattr(compile, "has_tensorrt", lambda: True)
    _, lines = compile.build(model_folder, tmp_path, threads=1, rounds=1, quiet=True)
    tried = [line for line in lines if line.candidate.settings.runtime.startswith("tensorrt")]
    models = {line.candidate.model for line in tried}
    assert len(tried) == 2 * len(models)
    assert all("torch_tensorrt" in line.why for line in tried)
    assert sorted(built) == sorted(models)
    said = compile.about([line.candidate for line in lines], 60)
    assert said.endswith(f"s, and some minutes for each of {len(models)} TensorRT builds")
    eager = [line.why for line in lines if line.candidate.settings.runtime == "torch-cuda"]
    assert all("sees none" in why for why in eager)
    assert len(eager) == len(models)


def test_a_manifest_of_another_model_is_refused_on_every_engine(model_folder, tmp_path):
    copy = Path(shutil.copytree(model_folder, tmp_path / "model"))
    shutil.copy(model_folder.parent / "so101-tabletop-int8" / manifests.FILE, copy)
    with pytest.raises(ManifestError, match=r"is not the file of this manifest: expected sha256 \w+.*found"):
        opened(copy, tmp_path / "state")


@pytest.mark.parametrize("name", [f"{name}.onnx" for name in GRAPHS])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["header", "middle", "tail"])
def test_a_changed_graph_is_refused_on_every_engine_compiled_or_not(
    built, model_folder, tmp_path, name, where
):
    copy = Path(shutil.copytree(model_folder, tmp_path / model_folder.name))
    content = bytearray((copy / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ManifestError, match=f"{name} is not the file of this manifest"):
        opened(copy, built[0])


@pytest.fixture
def no_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    machine.cache_clear()
    yield
    machine.cache_clear()


def test_without_openvino_torch_runs_the_model_and_that_is_said(model_folder, tmp_path, no_openvino):
    (_, engine, what), said = opened(model_folder, tmp_path)
    assert what == f"{model_folder.name}, fp32, torch, not compiled"
    assert len(said) == 1
    assert "openvino: the CPU engine needs the package openvino" in said[0]
    assert np.isfinite(engine.agreement.rows)


def test_without_anything_to_run_it_each_reason_is_told(model_folder, tmp_path, no_openvino, monkeypatch):
    monkeypatch.setattr(choice, "fallbacks", lambda threads: [Settings(), Settings(runtime="tensorrt")])
    with pytest.raises(
        EngineError, match=r"nothing here runs .* package openvino .* tensorrt: .* edge-wam compile"
    ):
        open_engine(model_folder, root=tmp_path, say=lambda line: None)


def test_the_next_best_comes_in_order_and_torch_only_where_it_is(monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert [s.runtime for s in choice.fallbacks(0)] == ["torch-cuda", "openvino", "torch"]
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert choice.fallbacks(3) == [Settings("fp32", 3, "openvino")]


@pytest.mark.slow
def test_killed_at_any_instant_there_is_a_whole_engine_or_none(model_folder, tmp_path):
    key = store.key_of(store.variants(model_folder))
    target = store.place(tmp_path, model_folder.name, key)
    words = [sys.executable, "-m", "edge_wam", "compile", "--model", str(model_folder), "--threads", "1"]
    words += ["--state", str(tmp_path), "--rounds", "1", "--precision", "fp32"]

    def run():
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    began_s = time.monotonic()
    assert run().wait() == 0
    took_s = time.monotonic() - began_s
    rng, seen = random.Random(0), []
    # Five instants anywhere, and five as soon as something is there that could be taken for an engine.
    for moment in (None, "*.blob", None, "*.blob", None, store.FILE, None, store.FILE, None, "table.md"):
        if target.exists() and moment != "*.blob":  # half of the time there is an engine to be lost
            shutil.rmtree(target)
        before = target.exists()
        child, end_s = run(), time.monotonic() + rng.uniform(0.1, 1.0) * took_s
        while child.poll() is None:
            if moment is None and time.monotonic() > end_s:
                break
            if moment and list(target.parent.glob(f".*.{child.pid}.draft/{moment}")):
                break
            time.sleep(0.001)
        child.kill()
        child.wait()
        whole = target.exists()
        if whole:
            assert all(path.suffix in (".blob", ".toml", ".md") for path in target.iterdir())
            assert store.read(target, key).files
        seen.append((before, whole, len(list(target.parent.glob(".*.draft")))))
    assert any(drafts for _, _, drafts in seen), seen  # some died amid it
    compile.build(model_folder, tmp_path, precision="fp32", threads=1, rounds=1, quiet=True)
    assert [path.name for path in target.parent.iterdir()] == [target.name]  # drafts are swept away


def test_what_rounding_costs_is_kept_beside_the_engine(model_folder, tmp_path, monkeypatch, capsys):
    """Of the model that was chosen: here one that has such a table."""
    copy = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (copy / compile.SENSITIVITY).write_text("# What rounding each layer costs")
    words = ["compile", "--model", str(copy), "--state", str(tmp_path / "state"), "--rounds", "1"]
    assert main([*words, "--precision", "fp32", "--threads", "1"]) == 0
    (kept,) = (tmp_path / "state").glob(f"engines/*/{compile.SENSITIVITY}")
    said = capsys.readouterr().out
    assert kept.read_text() in said
    assert "about 10 s\n" in said


def test_an_older_engine_of_the_same_model_goes_when_a_new_one_is_there(spoilt, model_folder):
    root, folder = spoilt
    older = folder.with_name(f"{model_folder.name}-{'0' * 16}")
    stranger = folder.with_name(f"another-{'0' * 16}")
    for path in (older, stranger):
        path.mkdir()
    assert store.sweep(root, folder) == [older.name]
    assert folder.exists()
    assert stranger.exists()
