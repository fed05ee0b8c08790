"""Card and manifest say what was measured of the files beside them, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.sim import score
from edge_wam.sim.score import Imagined, Result
from edge_wam.train import card

FILES = {"weights.safetensors": "ab" * 32, "golden.safetensors": "cd" * 32}


def results(won):
    verbs = ("pick", "push")
    return [
        Result(
            "k", n, f"{verbs[n % 2]}_red", "words", ("seen", "held_out_pair")[n // 2 % 2], verbs[n % 2],
            n < won, n == 9, 3.5, 0.004, (8.0, 9.0), (Imagined(0.5333, 10.0, 25.0, 90, 2),), 12.5,
        )
        for n in range(10)
    ]  # fmt: skip


def about(files, steps, won, noise_std=1.0):
    return {
        "model": "m",
        "precision": "int8",
        "steps": steps,
        "noise_std": noise_std,
        "files": files,
    } | score.figures(results(won))


@pytest.fixture
def found(manifest, tmp_path):
    """A model, and an evaluation of it with 10 and 1 steps beside another."""
    parents = {"config": "nano", "parameters": 3_500_000, "teacher_sha256": "ef" * 32, "demonstrations": 3000}
    whole = replace(manifest, files=FILES, steps=1, precision="int8", parents=parents)
    manifests.write(tmp_path / "model", whole)
    policies = {
        "teacher@10": about({"weights.safetensors": "00" * 32}, 10, 10),
        "student@10": about(FILES, 10, 9),
        "student@1": about(FILES, 1, 8),
    }
    conditions = {"seed": 7, "episodes": 10, "left_out": 0, "delay_ms": 60}
    path = tmp_path / "score.json"
    path.write_text(json.dumps(conditions | {"policies": policies}) + "\n")
    return tmp_path / "model", path


def test_of_the_same_steps_it_is_the_one_with_the_models_noise(manifest):
    score = {"policies": {"loud@1": about(FILES, 1, 8), "quiet@1": about(FILES, 1, 8, 0.0)}}
    for noise_std, label in ((1.0, "loud@1"), (0.0, "quiet@1")):
        ours = replace(manifest, files=FILES, steps=1, noise_std=noise_std)
        assert card.policy_of(score, ours) == label


def test_the_manifest_holds_the_figures_of_its_own_files_and_steps(found):
    model, path = found
    assert card.write(model, path) == "student@1"
    written = manifests.load(model)
    assert written.measured["success"] == 0.8
    assert written.measured["success_low"] < 0.8 < written.measured["success_high"]
    assert (written.measured["episodes"], written.measured["seed"], written.measured["steps"]) == (10, 7, 1)
    assert written.measured["success_push"] == 0.8
    assert written.measured["success_held_out_pair"] == 1.0
    assert written.measured["imagined_better_533_ms"] == 2.5
    assert written.measured["wrong_object"] == 1
    assert written.files == FILES


def test_the_card_says_it_for_people(found):
    model, path = found
    card.write(model, path)
    text = (model / "README.md").read_text()
    assert "edge-wam evaluate --episodes 10 --seed 7" in text
    assert "| all | 80.0 % | 49.0 to 94.3 | 8 of 10 |" in text
    assert "| push | 80.0 % |" in text
    assert "| new pair (held_out_pair) | 100.0 % |" in text
    assert "2.50 times better at +0.53 s" in text
    assert "12.5 mrad" in text
    assert "8.5 ms (median)" in text
    assert "| **student@1** | 1 | 1 | int8 | 80.0 % |" in text
    assert "| teacher@10 | 10 | 1 | int8 | 100.0 % |" in text
    assert "| teacher_sha256 | " + "ef" * 32 in text
    assert "| demonstrations | 3000 |" in text
    assert '"pick up the red cube"' in text
    assert "Its weakest task is pick (80 %)" in text


def test_another_models_results_are_refused_and_nothing_is_written(found):
    model, path = found
    manifests.write(model, replace(manifests.load(model), files={"weights.safetensors": "11" * 32}))
    with pytest.raises(EdgeWamError, match="are of other files"):
        card.write(model, path)
    assert not (model / "README.md").exists()
    assert manifests.load(model).measured == {}


def test_a_policy_can_be_named_and_a_name_that_is_none_lists_them(found):
    model, path = found
    assert card.write(model, path, "student@10") == "student@10"
    assert manifests.load(model).measured["success"] == 0.9
    with pytest.raises(EdgeWamError, match="teacher@10, student@10, student@1"):
        card.write(model, path, "pupil")
    with pytest.raises(EdgeWamError, match="are of other files"):
        card.write(model, path, "teacher@10")


def test_what_was_not_measured_is_said_and_not_made_up(found):
    model, path = found
    known = json.loads(path.read_text())
    quick = [one._replace(imagined=(), action_mrad=None, success=False) for one in results(0)]
    known["policies"]["student@1"] |= score.figures(quick)
    path.write_text(json.dumps(known))
    card.write(model, path)
    text = (model / "README.md").read_text()
    assert text.count("not measured") == 3  # seconds, imagined, actions
    assert not [name for name in manifests.load(model).measured if name.startswith(("imagined", "action"))]


def test_the_last_line_of_what_was_printed_will_do(found, tmp_path):
    model, path = found
    said = tmp_path / "said.txt"
    said.write_text("success, %  all\nstudent@1  80.0\n" + path.read_text())
    assert card.write(model, said) == "student@1"


@pytest.mark.parametrize("content", ["", "a table\n", "{}\n", "[1]\n"])
def test_a_file_that_is_no_evaluation_is_refused(found, tmp_path, content):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(content)
    with pytest.raises(EdgeWamError, match=r"wrong\.json: expected"):
        card.write(found[0], wrong)
