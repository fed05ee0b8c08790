"""scripts/pipeline.sh: every step once, in order; what was stopped goes on; and it asks for what there is.

A stand-in for Python notes its command lines, so nothing is computed here. `scripts/pipeline.sh --tiny` runs
the real thing.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/usr/bin/env bash
(IFS=$'\t'; echo "$*" >>"{folder}/calls")
if [ -e "{folder}/fail" ] && [[ "$*" == *"$(cat "{folder}/fail")"* ]]; then exit 3; fi
"""


class Pipeline:
    """The script in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(STAND_IN.format(folder=folder))
        self.python.chmod(0o755)

    def run(self, *words: str, **sizes: str) -> subprocess.CompletedProcess[str]:
        ours = {"PYTHON": str(self.python), "RUNS": str(self.folder / "runs"), "MODEL": "m", **sizes}
        environment = {"PATH": os.environ["PATH"], **ours}
        script = str(ROOT / "scripts/pipeline.sh")
        return subprocess.run(["bash", script, *words], capture_output=True, text=True, env=environment)

    def calls(self) -> list[list[str]]:
        """Command lines since the last time this was asked."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split("\t") for line in lines]


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


STEPS = [
    "data scenes", "data episodes", "teacher read", "teacher see", "teacher joint", "export", "takeover",
    "teacher joint", "export", "distill", "export", "quantize", "edge_wam evaluate", "edge_wam bench",
    "card", "card",
]  # fmt: skip


def name_of(call: list[str]) -> str:
    """`data scenes` for `-m edge_wam.train.data scenes --count ...`."""
    words = [call[1].removeprefix("edge_wam.train."), *call[2:3]]
    return " ".join(word for word in words if not word.startswith("-"))


def test_every_step_is_carried_out_once_and_in_order(pipeline):
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    assert [name_of(call) for call in pipeline.calls()] == STEPS
    assert pipeline.run().returncode == 0
    assert pipeline.calls() == []


@pytest.mark.parametrize("step", ["train.takeover", "train.distill", "--until"])
def test_a_step_that_fails_ends_it_and_the_next_run_begins_there(pipeline, step):
    (pipeline.folder / "fail").write_text(step)
    assert pipeline.run().returncode == 3
    before = pipeline.calls()
    assert step in " ".join(before[-1])
    (pipeline.folder / "fail").unlink()
    assert pipeline.run().returncode == 0
    after = pipeline.calls()
    assert after[0] == before[-1]
    assert [name_of(call) for call in before[:-1] + after] == STEPS


def test_another_size_runs_its_step_and_all_that_follow(pipeline):
    pipeline.run()
    pipeline.calls()
    assert pipeline.run(STUDENT_STEPS="77").returncode == 0
    calls = pipeline.calls()
    assert [name_of(call) for call in calls] == STEPS[STEPS.index("distill") :]
    assert calls[0][-1] == "77"


def test_the_list_runs_nothing(pipeline):
    (pipeline.folder / "fail").write_text("train.teacher see")
    pipeline.run()
    pipeline.calls()
    listed = pipeline.run("--list")
    assert listed.returncode == 0
    assert pipeline.calls() == []
    told = [line.split(":")[0:2] for line in listed.stderr.splitlines()]
    assert [state.strip() for _, state in told] == ["done"] * 3 + ["to come"] * (len(STEPS) - 3)


def test_tiny_is_small_and_leaves_the_real_models_alone(pipeline):
    script = (ROOT / "scripts/pipeline.sh").read_text()
    assert '"${RUNS:=runs/tiny}"' in script
    assert '"${MODEL:=$RUNS/so101-tabletop}"' in script
    pipeline.run("--tiny")
    calls = pipeline.calls()
    assert [name_of(call) for call in calls] == STEPS
    sizes = [
        int(call[call.index(flag) + 1]) for call in calls for flag in ("--steps", "--count") if flag in call
    ]
    assert max(sizes) <= 100
    assert {call[call.index("--config") + 1] for call in calls if "--config" in call} == {"debug"}


def test_several_processes_train_and_one_does_the_rest(pipeline):
    several = pipeline.folder / "torchrun"
    several.write_text(
        f"#!/usr/bin/env bash\n(IFS=$'\t'; echo \"several$IFS$*\" >>{pipeline.folder}/calls)\n"
    )
    several.chmod(0o755)
    assert pipeline.run(TRAIN=f"{several} --nproc-per-node 2").returncode == 0
    shared = [call for call in pipeline.calls() if call[0] == "several"]
    assert [name_of(call[3:]) for call in shared] == [
        "teacher see",
        "teacher joint",
        "teacher joint",
        "distill",
    ]


def test_what_it_asks_for_is_there(pipeline):
    """Every module exists and knows every flag it is given."""
    pipeline.run()
    for call in pipeline.calls():
        assert call[0] == "-m"
        module = "edge_wam.flags" if call[1] == "edge_wam" else call[1]
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        for flag in (word for word in call if word.startswith("--")):
            assert f'"{flag}"' in source, f"{module} has no {flag}"


def test_models_are_judged_and_described_from_where_they_were_made(pipeline):
    pipeline.run()
    calls = pipeline.calls()
    value = {  # (step, flag) -> value, of steps that have one of each
        (name_of(call), flag): call[call.index(flag) + 1]
        for call in calls
        for flag in ("--out", "--model", "--results")
        if flag in call
    }
    exported = [call[call.index("--out") + 1] for call in calls if name_of(call) == "export"]
    teacher, student = exported[1:]
    int8 = value["quantize", "--out"]
    assert value["quantize", "--model"] == student
    assert value["takeover", "--model"] == exported[0]
    assert value["edge_wam bench", "--model"] == student
    (evaluate,) = (call for call in calls if name_of(call) == "edge_wam evaluate")
    policies = dict(word.split("=") for word in evaluate if "=" in word)
    assert policies == {
        "teacher@10": f"{teacher}@10",
        "teacher@1": f"{teacher}@1",
        "teacher@1 noiseless": f"{teacher}@1,0",
        "student@2": f"{student}@2,1",
        "student@1": f"{student}@1,1",
        "student@1 noiseless": f"{student}@1,0",
        "student-int8@1 noiseless": f"{int8}@1,0",
    }
    cards = [call[call.index("--model") + 1] for call in calls if name_of(call) == "card"]
    assert cards == [student, int8]
    assert value["card", "--results"] == f"{value['edge_wam evaluate', '--out']}/score.json"


def test_a_word_it_does_not_know_is_refused(pipeline):
    done = pipeline.run("--fast")
    assert done.returncode == 2
    assert "found '--fast'" in done.stderr
