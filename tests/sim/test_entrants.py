"""Who is asked what: policies by name, trials by task and group, and only what every model can be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.sim.entrants import Entrant, chosen, entrant, entrants_of, key_of, understood
from edge_wam.sim.tasks import FIRST_TRAINING_SEED, command, trials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("teacher=models/a", Entrant("teacher", "models/a", 0)),
        ("teacher@10=models/a@10", Entrant("teacher@10", "models/a", 10)),
        ("teacher@1 (naive)=models/a@1", Entrant("teacher@1 (naive)", "models/a", 1)),
        ("int8=models/x@home/b", Entrant("int8", "models/x@home/b", 0)),
        ("a=b=c@2", Entrant("a", "b=c", 2)),
        ("student=models/a@1,0", Entrant("student", "models/a", 1, 0.0)),
        ("student=models/a@0,.5", Entrant("student", "models/a", 0, 0.5)),
        ("comma=models/b,0", Entrant("comma", "models/b,0")),
    ],
)
def test_a_policy_is_a_label_a_folder_and_maybe_steps(text, expected):
    assert entrant(text) == expected


@pytest.mark.parametrize("text", ["models/a@10", "=models/a", "teacher=", "teacher=@10", "loud=models/a@1,2"])
def test_a_policy_without_a_label_or_a_folder_is_refused(text):
    with pytest.raises(EdgeWamError, match="LABEL=FOLDER"):
        entrant(text)


def test_a_label_names_one_policy():
    with pytest.raises(EdgeWamError, match="found 'a' twice"):
        entrants_of(["a=models/x", "a=models/y"], Path("nowhere"), 0)


def test_without_policies_the_model_is_judged_under_its_own_name(manifest, tmp_path):
    manifests.write(tmp_path, manifest)
    assert entrants_of([], tmp_path, 0)[0].label == f"{manifest.name}@10"
    assert entrants_of([], tmp_path, 2)[0] == Entrant(f"{manifest.name}@2", str(tmp_path), 2)


def test_tasks_and_groups_are_chosen_before_episodes_are_counted():
    assert chosen(7, 12) == trials(7, 12)
    pushes = chosen(7, 12, "push", "held_out_pair")
    assert len(pushes) == 12
    assert {command(trial.command_id).verb for trial in pushes} == {"push"}
    assert {trial.group for trial in pushes} == {"held_out_pair"}
    assert chosen(7, 5, "push", "held_out_pair") == pushes[:5]
    assert max(trial.seed for trial in pushes) < FIRST_TRAINING_SEED


def test_a_task_or_group_that_is_none_names_those_there_are():
    with pytest.raises(EdgeWamError, match="did you mean 'push'"):
        chosen(7, 5, "pusch")
    with pytest.raises(EdgeWamError, match="held_out_phrasing"):
        chosen(7, 5, "", "unseen")
    with pytest.raises(EdgeWamError, match="has 0 episodes"):
        chosen(7, 5, "home", "held_out_pair")


def test_only_what_every_model_knows_is_asked(manifest):
    asked = trials(7, 60)
    whole = replace(manifest, words=12)
    assert understood(asked, [whole]) == asked
    picks = replace(whole, commands=tuple(c for c in whole.commands if c.id.startswith("pick_")))
    known = understood(asked, [whole, picks])
    assert known == [trial for trial in asked if trial.command_id.startswith("pick_")]
    wordless = replace(whole, vocabulary=("", "pick", "up", "the", "red", "cube"))
    assert {trial.phrase for trial in understood(asked, [wordless])} <= {"pick up the red cube"}


def test_a_kept_result_is_of_the_same_policy_under_the_same_conditions(manifest):
    one = Entrant("student@1", "somewhere", 1)
    key = key_of(one, manifest, 0.06, False)
    assert key == key_of(one._replace(folder="elsewhere"), manifest, 0.06, False)
    others = [
        key_of(one._replace(label="student"), manifest, 0.06, False),
        key_of(one._replace(steps=2), manifest, 0.06, False),
        key_of(one._replace(noise_std=0.0), manifest, 0.06, False),
        key_of(one, replace(manifest, files={"weights.safetensors": "0" * 64}), 0.06, False),
        key_of(one, manifest, 0.08, False),
        key_of(one, manifest, 0.06, True),
    ]
    assert len({key, *others}) == 7
    assert key_of(one._replace(steps=0), manifest, 0.06, False) == key_of(
        one._replace(steps=10), manifest, 0.06, False
    )
