"""An evaluation in pieces: shares that leave nothing out, results that are kept, machines waited for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.sim import score
from edge_wam.sim.entrants import Entrant, chosen, key_of, understood
from edge_wam.sim.evaluate import (
    ACTION_EVERY,
    ALONE,
    Job,
    Share,
    Wanted,
    _wait,
    evaluate,
    main,
    read_results,
    share_of,
    tasks_left,
    wanted_results,
)
from edge_wam.sim.fast import DELAY_S
from edge_wam.sim.score import Result
from edge_wam.sim.tasks import VERBS, command, trials

KEYS = ("a", "b")


def answer(key, trial, success=True):
    verb = command(trial.command_id).verb
    return Result(key, *trial, verb, success, False, 3.0, 0.004, (10.0,))


def keep(folder, rank, results):
    with (folder / f"results-{rank}.jsonl").open("a") as file:
        file.writelines(score.line(result) + "\n" for result in results)


# --- shares ---------------------------------------------------------------------------------


def test_alone_unless_torchrun_says_otherwise():
    assert share_of({}) == ALONE == Share(0, 1, 1)
    assert share_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}) == Share(3, 4, 2)


def test_machines_that_start_at_different_times_leave_nothing_out_and_do_nothing_twice():
    asked = trials(7, 50)
    done, run = {("a", asked[4].seed)}, []
    for rank in (0, 1, 2):  # each sees what those before it have finished by then
        for task in tasks_left(asked, KEYS, done, Share(rank, 3, 1), quick=False):
            run += [(KEYS[index], task.trial.seed) for index in task.policies]
            done |= set(run[:-3])
    assert sorted([*run, ("a", asked[4].seed)]) == sorted((key, t.seed) for key in KEYS for t in asked)


def test_action_errors_are_taken_from_every_task_and_not_when_quick():
    asked = trials(7, 50)
    left = tasks_left(asked, KEYS, [], ALONE, quick=False)
    with_actions = [task.trial for task in left if task.with_actions]
    assert len(with_actions) == -(-50 // ACTION_EVERY)
    assert {command(trial.command_id).verb for trial in with_actions} == set(VERBS)
    quick = tasks_left(asked, KEYS, [], ALONE, quick=True)
    assert not any(task.with_actions or task.with_picture for task in quick)


# --- what is kept ---------------------------------------------------------------------------


def test_results_of_all_machines_are_read_and_a_line_cut_short_is_not(tmp_path):
    asked = trials(7, 4)
    keep(tmp_path, 0, [answer("a", asked[0]), answer("b", asked[0])])
    keep(tmp_path, 1, [answer("a", asked[1])])
    with (tmp_path / "results-1.jsonl").open("a") as file:
        file.write(score.line(answer("b", asked[1]))[:40])
    found = wanted_results(read_results(tmp_path), KEYS, asked)
    assert set(found) == {("a", asked[0].seed), ("b", asked[0].seed), ("a", asked[1].seed)}


def test_a_result_of_another_policy_or_of_another_trial_with_that_seed_is_not_used():
    asked = trials(7, 2)
    other = answer("a", asked[0]._replace(phrase="other words"))
    assert wanted_results([other, answer("c", asked[0]), answer("a", asked[1])], KEYS, asked).keys() == {
        ("a", asked[1].seed)
    }


@pytest.fixture
def job(manifest, tmp_path):
    manifests.write(tmp_path / "model", manifest)
    return Job("nowhere", (Entrant("a", str(tmp_path / "model")),), DELAY_S, True, str(tmp_path / "out"))


def test_what_is_complete_is_not_run_again(job, tmp_path, manifest):
    """There is neither a robot nor an engine here: running anything would fail."""
    asked, key = trials(7, 6), key_of(job.entrants[0], manifest, DELAY_S, True)
    (tmp_path / "out").mkdir()
    keep(tmp_path / "out", 0, [answer(key, trial) for trial in asked[::2]])
    keep(tmp_path / "out", 5, [answer(key, trial, success=False) for trial in asked[1::2]])
    results = evaluate(job, asked, 1, progress=False)
    assert [result.seed for result in results["a"]] == [trial.seed for trial in asked]
    assert [result.success for result in results["a"]] == [True, False] * 3


def test_the_first_machine_names_what_it_waits_for_and_gives_up(tmp_path):
    asked = trials(7, 3)
    keep(tmp_path, 0, [answer("a", asked[0])])
    with pytest.raises(EdgeWamError, match="5 of 6 episodes are missing"):
        _wait(tmp_path, KEYS, asked, patience_s=0.0)
    keep(tmp_path, 1, [answer(key, trial) for key in KEYS for trial in asked])
    assert len(_wait(tmp_path, KEYS, asked, patience_s=0.0)) == 6


# --- the command ----------------------------------------------------------------------------


def test_machines_need_a_folder_they_share(monkeypatch, job, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EdgeWamError, match="--out names no folder"):
        main(Wanted(tmp_path, job.entrants))


def test_models_that_know_none_of_it_are_named_with_what_they_know(job, tmp_path):
    folder = tmp_path / "model"
    told = manifests.load(folder)
    manifests.write(folder, replace(told, commands=told.commands[:1]))
    with pytest.raises(EdgeWamError, match=r"none of the 5 episodes.*pick_red"):
        main(Wanted(tmp_path, job.entrants, episodes=5, task="home"))


def test_the_last_line_is_json_with_everything_a_policy(job, tmp_path, manifest, capsys):
    asked, key = understood(trials(7, 6), [manifest]), key_of(job.entrants[0], manifest, DELAY_S, True)
    (tmp_path / "out").mkdir()
    keep(tmp_path / "out", 0, [answer(key, trial) for trial in asked])
    wanted = Wanted(
        tmp_path, job.entrants, 6, 7, quick=True, out=tmp_path / "out",
        plot=tmp_path / "p.png", strip=tmp_path / "s.png",
    )  # fmt: skip
    assert main(wanted) == 0
    said = capsys.readouterr().out.splitlines()
    figures = json.loads(said[-1])
    assert figures == json.loads((tmp_path / "out" / "score.json").read_text())
    assert (figures["seed"], figures["episodes"], figures["delay_ms"]) == (7, 6, 60)
    assert figures["left_out"] == 6 - len(asked)
    assert {"model", "steps", "precision", "files", "success", "tasks", "groups"} <= set(
        figures["policies"]["a"]
    )
    assert said[0].startswith(("left out:", "success"))
    assert (tmp_path / "p.png").is_file()
    assert main(wanted._replace(only_json=True)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.slow
def test_the_score_is_the_same_however_many_workers_help_and_goes_on_where_it_was(model_folder, tmp_path):
    asked = understood(chosen(7, 400, "pick"), [manifests.load(model_folder)])[:2]
    entrants = (Entrant("one", str(model_folder), 2),)
    runs = []
    for workers in (1, 2):
        job = Job("calibration/so101-sim", entrants, DELAY_S, False, str(tmp_path / str(workers)))
        runs.append(evaluate(job, asked, workers, progress=False)["one"])
        assert (
            evaluate(job, asked, workers, progress=False)["one"] == runs[-1]
        )  # latencies and all: not run again
    for one, other in zip(*runs, strict=True):
        assert one.seed == other.seed
        assert one.success == other.success
        assert one.closest_m == pytest.approx(other.closest_m, abs=1e-4)
        assert one.action_mrad == other.action_mrad
        assert [part.frames for part in one.imagined] == [part.frames for part in other.imagined] != []
        for part, same in zip(one.imagined, other.imagined, strict=True):
            assert part.imagined == pytest.approx(same.imagined, rel=0.05)
