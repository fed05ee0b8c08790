"""Comparisons are fair and complete: the same compute, the same episodes, nothing twice, nothing lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edge_wam.errors import EdgeWamError
from edge_wam.sim import score
from edge_wam.sim.score import Result
from edge_wam.sim.tasks import trials
from edge_wam.train import ablate, closed_loop, flow
from edge_wam.train.ablate import (
    DELAYS,
    QUESTIONS,
    Recipe,
    Row,
    Run,
    figures,
    flops_of_a_step,
    held_out,
    plan,
    questions,
    steps_of,
    table,
    train,
)
from edge_wam.train.closed_loop import Candidate, Eager, Question, judge, kept, key_of
from edge_wam.train.model import CONFIGS, WorldActionModel

DEBUG = CONFIGS["debug"]


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path / "data", tmp_path / "start", tmp_path / "n.json", tmp_path, "debug", 8, 1)


def test_teachers_are_shared_between_questions():
    rows = plan(QUESTIONS, (0, 1, 2))
    runs = {run for row in rows for run in row.runs}
    assert len(runs) == 2 * 3 + 1 + 1  # two weights and three seeds; one joint; one without prefix
    assert [row.delay_rows for row in rows if row.question == "prefix"] == [*DELAYS, *DELAYS]
    assert len({run.name for run in runs}) == len(runs)
    first, second = (row.runs for row in rows if row.question == "video")
    assert {run.video_weight for run in first} == {0.0}
    assert [run.seed for run in first] == [run.seed for run in second] == [0, 1, 2]


def test_every_episode_is_asked_once_and_the_same_ones_of_all(recipe):
    rows, asked = plan(QUESTIONS, (0, 1)), trials(5, 4)
    every = questions(recipe, rows, asked)
    keys = [(question.key, question.trial.seed) for question in every]
    assert len(set(keys)) == len(keys)
    by_key = {}
    for key, seed in keys:
        by_key.setdefault(key, []).append(seed)
    assert {tuple(seeds) for seeds in by_key.values()} == {tuple(trial.seed for trial in asked)}
    assert len(by_key) == 4 + 1 + 2 * len(DELAYS) - 1  # video at 2 rows late is prefix 6 at 2 rows late


@pytest.mark.slow
def test_without_imagination_a_step_is_cheaper_and_gets_more_of_them():
    without = Run(video_weight=0.0)
    cheap, dear = (flops_of_a_step(run, DEBUG, 8) for run in (without, Run()))
    assert 0.2 < cheap / dear < 0.95
    assert flops_of_a_step(Run(coupling="joint"), DEBUG, 8) > cheap
    assert flops_of_a_step(Run(), DEBUG, 16) == pytest.approx(2 * dear, rel=0.02)
    steps = steps_of([without, Run(), Run(seed=1)], DEBUG, 8, 100, "flops")
    assert steps == {without: round(100 * dear / cheap), Run(): 100, Run(seed=1): 100}
    assert set(steps_of([without, Run()], DEBUG, 8, 100, "steps").values()) == {100}


def test_backwards_is_counted_too():
    model, batch = ablate.build(DEBUG), ablate.meta_batch(DEBUG, 8, video=False)
    with ablate.FlopCounterMode(display=False) as forwards, torch.no_grad():
        ablate.teacher.joint_step(model, batch, False, torch.Generator())
    both = flops_of_a_step(Run(video_weight=0.0), DEBUG, 8)
    assert 1.15 < both / forwards.get_total_flops() < 3.1  # not 3: the eyes are frozen


# --- training -------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """Command lines of the trainer, which is not started."""
    lines = []

    class Done:
        returncode = 0

    monkeypatch.setattr(ablate.subprocess, "run", lambda line: lines.append(line) or Done)
    return lines


def test_a_teacher_is_trained_as_its_run_says_in_the_units_of_its_eyes(recipe, calls):
    recipe.normalisation.write_text("{}")
    run = Run(video_weight=0.0, committed_max=0, seed=7)
    train(recipe, run, 30)
    words = calls[0][1:]
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[:3] == ["-m", "edge_wam.train.teacher", "joint"]
    assert (flags["--video-weight"], flags["--committed-max"], flags["--seed"]) == ("0.0", "0", "7")
    assert (flags["--steps"], flags["--start"]) == ("30", str(recipe.start))
    assert (recipe.out / run.name / "normalisation.json").read_text() == "{}"


def test_what_is_trained_is_not_trained_again_and_what_was_stopped_goes_on(recipe, calls):
    recipe.normalisation.write_text("{}")
    state = recipe.out / Run().name / "joint" / "state.json"
    state.parent.mkdir(parents=True)
    for step, trained in ((30, 0), (20, 1)):
        state.write_text(json.dumps({"step": step}))
        train(recipe, Run(), 30)
        assert len(calls) == trained
    state.write_text(json.dumps({"step": 40}))
    with pytest.raises(EdgeWamError, match="40 steps, not 30"):
        train(recipe, Run(), 30)


def test_training_that_fails_is_told(recipe, monkeypatch):
    recipe.normalisation.write_text("{}")
    monkeypatch.setattr(ablate.subprocess, "run", lambda line: type("Failed", (), {"returncode": 1}))
    with pytest.raises(EdgeWamError, match="code 1"):
        train(recipe, Run(), 30)


# --- closed loop ----------------------------------------------------------------------------


def test_the_eager_engine_samples_as_flow_does_and_keeps_what_is_decided(model):
    rng, engine = np.random.default_rng(0), Eager(model)
    images = rng.integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    tokens = np.array([1, 2, 3, *[0] * 9])
    state, noise = (rng.standard_normal(shape, dtype=np.float32) for shape in (12, (16, 6)))
    committed = np.full((16, 6), np.nan)
    committed[:3] = 0.25
    seen = engine.context(images, tokens, state)
    rows = engine.act(seen, noise, 4, committed).rows
    right, _ = flow.sample_actions(
        model, seen.context, torch.from_numpy(noise)[None], 4, torch.from_numpy(committed).float()[None]
    )
    np.testing.assert_array_equal(rows, right[0].numpy())
    assert (rows[:3] == 0.25).all()
    assert not np.allclose(engine.act(seen, noise, 4).rows[3:], rows[3:], atol=1e-4)
    joint = Eager(model, "joint").act(seen, noise, 4, committed).rows
    assert (joint[:3] == 0.25).all()
    assert not np.allclose(joint[3:], rows[3:], atol=1e-4)  # what is imagined is looked at


@pytest.fixture
def candidate(model, tmp_path):
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    scales = {"position_mean_rad": [0.0] * 6, "position_std_rad": [1.0] * 6}
    scales["action_std_rad"] = np.full((16, 6), 0.01).tolist()
    (tmp_path / "n.json").write_text(json.dumps(scales))
    return Candidate("one", tmp_path / "w.safetensors", tmp_path / "n.json", "debug", 2, "action_centric")


@pytest.mark.slow
def test_a_model_is_judged_from_its_weights_with_the_prefix_it_was_taught(candidate, tmp_path):
    manifest, _ = closed_loop.load(candidate)
    assert manifest.committed_rows_max == 2
    home = trials(5, 5)[-1]
    assert home.command_id == "home"
    judge(tmp_path, [Question(candidate, 2, home)], ablate.Path("calibration/so101-sim"), 1)
    (result,) = kept(tmp_path).values()
    assert (result.key, result.seed, result.verb) == ("one late=2", home.seed, "home")
    assert result.infer_ms
    assert 0 < result.seconds <= 9


def test_what_is_kept_is_not_run_again(candidate, tmp_path):
    trial = trials(5, 1)[0]
    result = Result(key_of("one", 0), *trial, "pick", True, False, 1.0, None, ())
    (tmp_path / "results.jsonl").write_text(score.line(result) + '\n{"key": "cut sho')
    judge(tmp_path, [Question(candidate, 0, trial)], ablate.Path("nowhere"), 1)
    assert kept(tmp_path) == {("one late=0", trial.seed): result}


# --- telling --------------------------------------------------------------------------------


def write_run(recipe, run, row_error, successes):
    """The log of a run, and results of its episodes."""
    folder = recipe.out / run.name / "joint"
    folder.mkdir(parents=True)
    line = {"step": 30, "seconds": 90.0, "held_out_action": 0.1, "row_error": row_error, "row_error_1": 0.5,
            "imagined_ratio_end": 1.5}  # fmt: skip
    log = [
        {"step": 20, "seconds": 60.0, "row_error": 9.0},
        line,
        {"step": 30, "seconds": 91.0, "action": 1.0},
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    with (recipe.out / "results.jsonl").open("a") as file:
        for trial, success in zip(trials(5, len(successes)), successes, strict=True):
            result = Result(key_of(run.name, 2), *trial, "pick", success, not success, 1.0, None, ())
            file.write(score.line(result) + "\n")


def test_a_row_pools_its_seeds_and_tells_their_spread(recipe):
    runs = (Run(seed=0), Run(seed=1))
    write_run(recipe, runs[0], 0.2, [True, True, True, False])
    write_run(recipe, runs[1], 0.4, [True, False, False, False])
    found = figures(recipe, Row("video", "a label", runs, 2), trials(5, 4))
    assert (found["success"]["done"], found["success"]["of"], found["wrong_object"]) == (4, 8, 4)
    assert found["by_seed"] == {0: 0.75, 1: 0.25}
    assert found["row_error"] == pytest.approx(0.3)
    assert found["row_error_spread"] == pytest.approx(0.2 / np.sqrt(2), abs=1e-4)
    told = table([found])
    assert "| a label | 50.0 | 22 to 78 | 75.0, 25.0 | 8 | 0.300 ± 0.141 |" in told
    assert held_out(recipe, runs[0])["seconds"] == 90.0


def test_a_row_of_which_nothing_is_there_yet_is_a_row_of_dashes(recipe):
    told = table([figures(recipe, Row("prefix", "x", (Run(),), 8), trials(5, 4))])
    assert "| x | - | 0 to 100 | - | 0 | - | - | - | - | - |" in told


def test_weights_that_do_not_fit_are_not_judged(candidate):
    with pytest.raises(RuntimeError, match="size mismatch"):
        closed_loop.load(candidate._replace(config="nano"))
    assert WorldActionModel(DEBUG).config.width == 64
