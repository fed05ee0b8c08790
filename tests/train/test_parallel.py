"""Two processes under torchrun do what one does with two shares; and say so when they cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from team_of_two import train, train_toy, wishes
from torch import nn

from edge_wam.errors import EdgeWamError
from edge_wam.train import flow, parallel
from edge_wam.train.dataset import Episodes, make_features
from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.parallel import Lesson, Team, autocast, device_of, generator, join, moved
from edge_wam.train.teacher import Trainer

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def together(tmp_path_factory, drawn_data):
    """What two processes have left behind."""
    folder, script = tmp_path_factory.mktemp("together"), str(HERE / "team_of_two.py")
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, *launch, script, str(drawn_data), str(folder)],
        capture_output=True,
        text=True,
        timeout=900,  # not a test of speed: what hangs must end
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_end_like_one_with_as_many_shares(together, accumulate):
    first, second = (load_file(together / f"toy{accumulate}-{rank}.safetensors") for rank in range(2))
    one = train_toy(Team(accumulate=2 * accumulate)).state_dict()
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
    other = train_toy(Team()).state_dict()  # the twin: another number of shares is another run
    assert not torch.allclose(other["often.weight"], first["often.weight"], atol=1e-4)


@pytest.mark.slow
def test_processes_that_have_drifted_apart_are_told(together):
    for rank in range(2):
        said = (together / f"{rank}.txt").read_text()
        assert said == "the model of process [1] is no longer that of process 0"


def test_every_share_is_computed_once():
    for size, accumulate in ((1, 1), (1, 4), (2, 1), (3, 2)):
        shares = [share for rank in range(size) for share in Team(rank, size, accumulate=accumulate).shares]
        assert shares == list(range(size * accumulate))


def test_shares_draw_differently_and_always_the_same():
    drawn = {key: generator(*key).random() for key in np.ndindex(2, 3, 2)}
    assert len(set(drawn.values())) == len(drawn)
    assert all(generator(*key).random() == value for key, value in drawn.items())


@pytest.mark.parametrize(("batch", "size", "accumulate"), [(30, 2, 2), (2, 4, 1), (7, 1, 2)])
def test_a_batch_that_cannot_be_cut_names_one_that_can(batch, size, accumulate):
    with pytest.raises(EdgeWamError, match=rf"batch of {batch} .* try: --batch") as caught:
        Team(0, size, accumulate=accumulate).share_size(batch)
    proposed = int(str(caught.value).split()[-1])
    team = Team(0, size, accumulate=accumulate)
    assert team.share_size(proposed) * size * accumulate == proposed
    assert Team(0, 2).share_size(32) == 16


def test_alone_nothing_is_wrapped_and_nobody_waits(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    lesson = nn.Linear(2, 2)
    with join("cpu") as team:
        assert team == Team()
        assert team.first
        assert type(team.wrap(lesson, lesson.forward)) is Lesson
        team.wait()
        team.check(lesson)
        assert team.mean({"a": 2.0}) == {"a": 2.0}
    assert not torch.distributed.is_initialized()


def test_cores_are_divided_among_the_processes_of_a_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [Team(0, 8, local).threads for local in (1, 4, 16, 32)] == [16, 4, 1, 1]


@pytest.mark.parametrize(
    ("flags", "fast"), [("avx512f avx512_bf16 fma", True), ("amx_bf16", True), ("avx2", False)]
)
def test_bf16_is_used_where_the_cpu_computes_in_it(monkeypatch, tmp_path, flags, fast):
    path = tmp_path / "cpuinfo"
    path.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(parallel, "CPU_FLAGS", path)
    with autocast(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(EdgeWamError, match=r"no GPU: 0 found; try: torchrun .* --device cpu"), join("cuda"):
        pass


# --- the trainer in a team ------------------------------------------------------------------


@pytest.mark.slow
def test_the_trainer_in_two_processes_stopped_and_resumed_ends_like_one_of_two_shares(
    together, drawn_data, tmp_path
):
    one = train(Team(accumulate=2), drawn_data, tmp_path)
    for name, model in (("model", one.model), ("average", one.average.model)):
        first, second = (load_file(together / f"{name}-{rank}.safetensors") for rank in range(2))
        for key, value in model.state_dict().items():
            assert torch.equal(first[key], second[key]), key
            torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-6, msg=key)
    logs = [
        [json.loads(line) for line in (folder / "joint" / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path, together)
    ]
    assert [line["step"] for line in logs[1]] == [2, 4, 4]  # one line each, though two computed
    for ours, theirs in zip(*logs, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"seconds"}:
            assert ours[name] == pytest.approx(theirs[name], abs=2e-5), name


@pytest.mark.parametrize("coupling", ["action_centric", "joint"])
def test_a_step_computes_everything_where_the_model_is(coupling, drawn_data, tmp_path):
    """The meta device stands in for a GPU: like one, it refuses tensors of the CPU."""
    arguments = wishes(drawn_data, tmp_path)
    arguments.coupling = coupling
    trainer = Trainer("joint", arguments)
    away = torch.device("meta")
    trainer.model.to(away)
    trainer.team = trainer.team._replace(device=away)
    assert device_of(trainer.model) == away
    losses = trainer._losses(generator(0, 0, 0))
    assert {value.device for value in losses.values()} == {away}
    sum(losses.values()).backward()
    assert all(p.grad.device == away for p in trainer.model.parameters() if p.grad is not None)
    trainer.team = trainer.team._replace(device=torch.device("cpu"))  # the twin: the refusal
    with pytest.raises(RuntimeError, match=r"same device|meta"):
        trainer._losses(generator(0, 0, 0))


def test_samplers_compute_where_the_model_is(drawn_data):
    away = torch.device("meta")
    there = WorldActionModel(CONFIGS["debug"]).to(away).requires_grad_(False)
    data = Episodes.load(drawn_data)
    features = make_features(data.normalisation())
    batch = moved(data.batch(data.pool[:3], features, generator(0, 0, 0), video=True), away)
    context = there.context(batch.images, batch.tokens, batch.state)
    rows, act_kv = flow.sample_actions(there, context, torch.empty_like(batch.rows), 2)
    frames = flow.sample_video(there, context, act_kv, batch.images, torch.empty_like(batch.future), 2)
    assert (rows.device, frames.device) == (away, away)
