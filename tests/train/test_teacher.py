"""The trainer: a stopped run ends like one that was not, and what it writes can be read."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edge_wam.train.figures import poses, reading
from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.teacher import (
    POSE_BETA,
    STAGES,
    Trainer,
    labelled_loss,
    load_normalisation,
    optimisers,
    schedule,
    see_step,
    trained,
)

pytestmark = pytest.mark.slow  # they train


def wishes(data, out):
    """What the command line would say."""
    return argparse.Namespace(
        data=data,
        out=out,
        start=None,
        config="debug",
        steps=4,
        batch=4,
        lr=1e-3,
        seed=3,
        video_weight=0.5,
        committed_max=6,
        coupling="action_centric",
    )


@pytest.fixture
def arguments(drawn_data, tmp_path):
    return wishes(drawn_data, tmp_path / "out")


FILES = ("weights", "average", "moments")


def tensors(trainer):
    return {name: load_file(trainer.out / f"{name}.safetensors") for name in FILES}


@pytest.fixture(scope="module")
def straight(drawn_data, tmp_path_factory):
    """Four steps of joint training without a stop."""
    out = tmp_path_factory.mktemp("straight")
    trainer = Trainer(
        "joint",
        wishes(drawn_data, out),
    )
    first = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    return trainer, first


def test_a_stopped_run_ends_bit_for_bit_like_one_that_was_not(straight, arguments):
    Trainer("joint", arguments).run(until=2)
    resumed = Trainer("joint", arguments)
    assert resumed.step == 2
    resumed.run()
    ours, theirs = tensors(resumed), tensors(straight[0])
    for name in FILES:
        assert ours[name].keys() == theirs[name].keys()
        assert all(torch.equal(value, theirs[name][key]) for key, value in ours[name].items()), name


def test_another_seed_is_another_run(straight, arguments):
    arguments.seed = 4
    Trainer("joint", arguments).run(until=1)
    ours = load_file(arguments.out / "joint" / "weights.safetensors")
    assert not torch.equal(ours["row_in.weight"], straight[0].model.state_dict()["row_in.weight"])


def frozen(model, stage):
    return {name for name, _ in model.named_parameters() if not trained(name, stage)}


def test_joint_training_moves_all_but_the_eyes_and_the_reader(straight):
    """What text and single scenes have taught stays bit for bit; nothing else is forgotten by the
    optimisers."""
    trainer, first = straight
    after = trainer.model.state_dict()
    still = {name for name in first if torch.equal(first[name], after[name])}
    assert still == frozen(trainer.model, "joint")
    assert {"stem.conv1.weight", "look.temperature", "reader.words.weight", "key.0.weight"} <= still
    assert {"place.4.bias", "look.colour"} <= still
    averaged = trainer.average.model.state_dict()
    assert all(torch.allclose(averaged[name], first[name], atol=1e-6) for name in still)


@pytest.mark.parametrize("stage", ["read", "see"])
def test_every_part_of_reader_or_eyes_is_trained_by_its_stage_and_nothing_else(arguments, stage):
    arguments.steps, arguments.batch = 2, 8
    trainer = Trainer(stage, arguments)
    first = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    still = {name for name in first if torch.equal(first[name], after[name])}
    assert still == frozen(trainer.model, stage)


def test_each_part_of_the_model_is_trained_by_one_stage():
    for name, _ in WorldActionModel(CONFIGS["debug"]).named_parameters():
        assert sum(trained(name, stage) for stage in STAGES) == 1


def test_each_parameter_that_is_trained_has_one_optimiser():
    for stage in STAGES:
        model = WorldActionModel(CONFIGS["debug"])
        made = optimisers(model, stage, 1e-3)
        held = [id(p) for optimiser, _ in made for group in optimiser.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
        assert held
    rate = {id(p): lr for optimiser, lr in made for group in optimiser.param_groups for p in group["params"]}
    assert rate[id(model.row_in.weight)] == 1e-3
    assert rate[id(model.blocks[0].qkv.weight)] == 25e-3  # Muon's rate is of another kind


def test_without_imagination_its_part_of_the_model_does_not_move(arguments):
    arguments.video_weight, arguments.steps = 0.0, 2
    trainer = Trainer("joint", arguments)
    first = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    assert all(torch.equal(first[n], after[n]) for n in first if n.startswith(("imagination", "dream")))
    lines = [json.loads(line) for line in (trainer.out / "log.jsonl").read_text().splitlines()]
    assert not any("video" in line for line in lines)


def test_the_joint_mask_is_trained_and_judged_by_the_same_trainer(arguments):
    arguments.coupling, arguments.steps = "joint", 2
    trainer = Trainer("joint", arguments)
    trainer.run()
    lines = [json.loads(line) for line in (trainer.out / "log.jsonl").read_text().splitlines()]
    assert {"row_error", "row_error_1", "imagined_ratio_end"} <= set(lines[-1])
    assert np.isfinite(list(lines[-1].values())).all()


def test_plates_are_looked_for_only_where_one_is_to_be_found(arguments):
    """And what is found there is what the whole model sees; a batch without any costs nothing."""
    trainer = Trainer("see", arguments)
    batch = trainer.data.scenes.batch(np.arange(6), trainer.features, np.random.default_rng(0))
    known = ~batch.place.isnan().any(1)
    assert 0 < int(known.sum()) < 6
    _, place = poses(trainer.model, batch)
    expected = labelled_loss(place, batch.place)
    assert torch.allclose(see_step(trainer.model, batch)["place"], expected, atol=1e-5)
    nothing = batch._replace(place=torch.full_like(batch.place, torch.nan))
    losses = see_step(trainer.model, nothing)
    assert float(losses["place"].detach()) == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in trainer.model.stem.parameters())


def test_what_has_no_label_costs_nothing():
    ours, truth = torch.tensor([[1.0, 2.0], [5.0, 5.0]]), torch.tensor([[0.0, 2.0], [torch.nan, torch.nan]])
    ours.requires_grad_(True)
    loss = labelled_loss(ours, truth)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 - POSE_BETA / 2) / 2)
    assert torch.isfinite(ours.grad).all()
    assert not ours.grad[1].any()
    assert float(labelled_loss(ours.detach(), torch.full((2, 2), torch.nan))) == 0


def test_a_reader_reads_what_it_never_heard(arguments):
    """Held-out phrasings of every command, and every phrase of the held-out pairs: 114 sentences."""
    arguments.steps, arguments.batch, arguments.lr = 500, 64, 3e-3
    trainer = Trainer("read", arguments)
    trainer.run()
    found = reading(trainer.average.model)
    assert found["read_training"] == 1
    assert found["read_held_out_phrasing"] >= 0.99
    assert found["read_held_out_pair"] >= 0.99


def test_the_log_is_finite_and_names_what_matters(straight):
    lines = [json.loads(line) for line in (straight[0].out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4
    names = {"held_out_action", "row_error", "imagined_ratio_end", "far_error", "done_missed", "key_p50_rad"}
    assert names <= set(lines[-1])
    assert np.isfinite(list(lines[-1].values())).all()


@pytest.mark.parametrize("name", ["imagined.png", "curves.png"])
def test_pictures_are_written(straight, name):
    with Image.open(straight[0].out / name) as picture:
        assert min(picture.size) > 100
        assert np.asarray(picture.convert("L")).std() > 1


def test_what_was_done_after_the_last_checkpoint_is_logged_once(arguments):
    trainer = Trainer("joint", arguments)
    trainer.run(until=1)
    trainer.step = 2
    trainer._log({"key": 1.0})  # done, but never saved
    resumed = Trainer("joint", arguments)
    assert resumed.step == 1
    assert "2" not in [
        json.loads(line)["step"] for line in (resumed.out / "log.jsonl").read_text().splitlines()
    ]


def test_seeing_goes_first_and_acting_starts_from_its_weights(arguments):
    arguments.steps = 2
    seeing = Trainer("see", arguments)
    seeing.run()
    for name in ("weights", "average", "moments"):
        assert (arguments.out / "see" / f"{name}.safetensors").exists()
    arguments.start = arguments.out / "see" / "average.safetensors"
    acting = Trainer("joint", arguments)
    seen = load_file(arguments.start)
    assert all(torch.equal(value, seen[name]) for name, value in acting.model.state_dict().items())


def test_the_scales_stay_those_of_the_first_run(arguments, drawn_data):
    """New demonstrations must not change what the old weights mean."""
    Trainer("joint", arguments)
    path = arguments.out / "normalisation.json"
    content = json.loads(path.read_text())
    content["position_mean_rad"] = [1.0] * 6
    path.write_text(json.dumps(content))
    again = Trainer("joint", arguments)
    assert again.features.normalisation.position_mean_rad.tolist() == [1.0] * 6
    assert load_normalisation(path).action_std_rad.shape == (16, 6)


def test_the_schedule_warms_up_and_ends_at_nothing():
    for stage in STAGES:
        factors = [schedule(step, 1000, stage) for step in range(1000)]
        assert factors[0] < 0.05
        assert max(factors) <= 1
        assert factors[-1] < 0.01
    assert schedule(400, 1000, "joint") == 1
    assert schedule(400, 1000, "see") < 0.7
