"""What does each part of the recipe give? Teachers that differ in one thing, at equal compute, judged alike.

    python -m edge_wam.train.ablate --data runs/data --start runs/teacher/see/average.safetensors \
        --normalisation runs/teacher/normalisation.json --out runs/ablate --steps 400 --episodes 60

Three questions (`--only` chooses among them):

* **video**: imagination switched off beside imagination, three seeds. Does it help the hands?
* **coupling**: actions that see the noisy video (one joint mask) beside actions that do not.
* **prefix**: taught with decided rows or without, when chunks come 0, 2, 4 and 8 rows late.

Every teacher starts from the same eyes and sees the same demonstrations. Equal compute is equal operations,
counted on one training step forwards and backwards: what needs fewer a step gets more steps (`--equal steps`
gives all the same number instead). Then the error of its rows on held-out recordings, and episodes in closed
loop, the same for all, in eager torch: which of them is exported later does not matter here.

Everything is kept in `--out` as it comes and is not done again: what was stopped goes on. results.json and
table.md are written at the end (and by `--report`, of what there is so far).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from edge_wam.errors import EdgeWamError
from edge_wam.sim import score
from edge_wam.sim.tasks import Trial, trials
from edge_wam.train import flow, teacher
from edge_wam.train.closed_loop import Candidate, Question, judge, kept, key_of
from edge_wam.train.dataset import Batch
from edge_wam.train.model import BODY, CONFIGS, KEY_SIZE, Config
from edge_wam.train.rooflines import build, inputs

DELAY_ROWS = 2  # about what exposure to chunk takes on the robot (60 ms)
DELAYS = (0, 2, 4, 8)
QUESTIONS = ("video", "coupling", "prefix")


class Run(NamedTuple):
    """One teacher: what distinguishes it, and its seed."""

    video_weight: float = teacher.VIDEO_WEIGHT
    coupling: str = teacher.COUPLINGS[0]
    committed_max: int = flow.COMMITTED_MAX
    seed: int = 0

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"video{self.video_weight:g}-{self.coupling}-prefix{self.committed_max}-seed{self.seed}"


class Row(NamedTuple):
    """A line of a question's table: teachers that differ in their seeds alone, at one delay."""

    question: str
    label: str
    runs: tuple[Run, ...]
    delay_rows: int


def plan(only: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """All rows of the questions asked; teachers are shared between them. Video has all seeds, the others
    the first one."""
    first, rows = Run(seed=seeds[0]), []
    if "video" in only:
        for weight in (0.0, teacher.VIDEO_WEIGHT):
            runs = tuple(Run(video_weight=weight, seed=seed) for seed in seeds)
            rows.append(Row("video", f"video loss x {weight:g}", runs, DELAY_ROWS))
    if "coupling" in only:
        for coupling in teacher.COUPLINGS:
            rows.append(Row("coupling", coupling, (first._replace(coupling=coupling),), DELAY_ROWS))
    if "prefix" in only:
        for most in (0, flow.COMMITTED_MAX):
            run = first._replace(committed_max=most)
            taught = f"up to {most} rows decided" if most else "none decided"
            rows += [Row("prefix", f"{taught}, {late} rows late", (run,), late) for late in DELAYS]
    return rows


# --- compute --------------------------------------------------------------------------------


def meta_batch(config: Config, count: int, video: bool) -> Batch:
    """A batch of `count` without content, on the meta device."""
    x = {name: value.expand(count, *value.shape[1:]).clone() for name, value in inputs(config).items()}
    future = torch.empty(*x["noisy"].shape, device="meta") if video else torch.empty(0, device="meta")
    return Batch(
        x["images"],
        x["tokens"],
        x["state"],
        torch.empty(count, KEY_SIZE, device="meta"),
        x["rows"],
        future,
        torch.empty(count, device="meta"),
        torch.empty(count, BODY, device="meta"),
        torch.empty(count, 2, device="meta"),
    )


@functools.cache
def flops_of_a_step(run: Run, config: Config, batch: int) -> float:
    """Operations of one training step, forwards and backwards, averaged over steps with and without video."""
    model, total = build(config), 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(teacher.trained(name, "joint"))
    for step in range(teacher.VIDEO_EVERY):
        video = run.video_weight > 0 and step == 0
        with FlopCounterMode(display=False) as counter:
            given = meta_batch(config, batch, video or run.coupling == "joint")
            losses = teacher.joint_step(
                model, given, video, torch.Generator(), run.committed_max, run.coupling
            )
            torch.stack(list(losses.values())).sum().backward()
        total += counter.get_total_flops()
    return total / teacher.VIDEO_EVERY


def steps_of(runs: Sequence[Run], config: Config, batch: int, steps: int, equal: str) -> dict[Run, int]:
    """Steps of each run, so that all compute what the standard recipe computes in `steps`."""
    if equal == "steps":
        return dict.fromkeys(runs, steps)
    standard = flops_of_a_step(Run(), config, batch)
    kinds = {run._replace(seed=0) for run in runs}
    factor = {kind: standard / flops_of_a_step(kind, config, batch) for kind in kinds}
    return {run: round(steps * factor[run._replace(seed=0)]) for run in runs}


# --- training -------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """What all teachers have in common."""

    data: Path
    start: Path
    normalisation: Path
    out: Path
    config: str
    batch: int
    threads: int


def candidate(recipe: Recipe, run: Run) -> Candidate:
    """A trained run, as it is judged."""
    weights = recipe.out / run.name / "joint" / "average.safetensors"
    return Candidate(run.name, weights, recipe.normalisation, recipe.config, run.committed_max, run.coupling)


def train(recipe: Recipe, run: Run, steps: int) -> None:
    """Train one teacher to its last step; one that is there is left alone. EdgeWamError if it fails."""
    folder = recipe.out / run.name
    state = folder / "joint" / "state.json"
    if state.exists():
        done = json.loads(state.read_text())["step"]
        if done > steps:
            raise EdgeWamError(f"{folder} was trained for {done} steps, not {steps}; try: another --out")
        if done == steps:
            return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "normalisation.json").exists():
        shutil.copy(recipe.normalisation, folder / "normalisation.json")  # the eyes were taught in its units
    flags = {
        "--data": recipe.data,
        "--out": folder,
        "--start": recipe.start,
        "--config": recipe.config,
        "--steps": steps,
        "--batch": recipe.batch,
        "--seed": run.seed,
        "--threads": recipe.threads,
        "--video-weight": run.video_weight,
        "--committed-max": run.committed_max,
        "--coupling": run.coupling,
    }
    line = [str(word) for flag in flags.items() for word in flag]
    code = subprocess.run([sys.executable, "-m", "edge_wam.train.teacher", "joint", *line]).returncode
    if code:
        raise EdgeWamError(
            f"training of {run.name} ended with code {code}; the same command goes on from there"
        )


def held_out(recipe: Recipe, run: Run) -> dict[str, float]:
    """The last figures of a run's log: errors on recordings it was not trained on, and how long it took."""
    log = recipe.out / run.name / "joint" / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    last = next(line for line in reversed(lines) if "row_error" in line)
    names = ("held_out_action", "row_error", "row_error_1", "imagined_ratio_end", "seconds", "step")
    return {name: last[name] for name in names}


def questions(recipe: Recipe, rows: Sequence[Row], asked: Sequence[Trial]) -> list[Question]:
    """Every episode of every row, each once."""
    wanted = dict.fromkeys((run, row.delay_rows) for row in rows for run in row.runs)
    return [Question(candidate(recipe, run), late, trial) for run, late in wanted for trial in asked]


# --- telling --------------------------------------------------------------------------------


def figures(recipe: Recipe, row: Row, asked: Sequence[Trial]) -> dict[str, Any]:
    """One row: success over all its seeds with an interval, and by seed; errors as mean and spread."""
    done = kept(recipe.out)
    by_run = {
        run: [done[at] for trial in asked if (at := (key_of(run.name, row.delay_rows), trial.seed)) in done]
        for run in row.runs
    }
    logs = [held_out(recipe, run) for run in row.runs if (recipe.out / run.name / "joint/log.jsonl").exists()]
    every = [result for results in by_run.values() for result in results]
    out: dict[str, Any] = {"question": row.question, "label": row.label, "delay_rows": row.delay_rows}
    out |= {"success": score.rate(every), "wrong_object": sum(result.wrong_object for result in every)}
    out["by_seed"] = {run.seed: score.rate(results)["rate"] for run, results in by_run.items()}
    for name in logs[0] if logs else ():
        values = [log[name] for log in logs]
        out[name] = round(float(np.mean(values)), 5)
        if len(values) > 1:
            out[f"{name}_spread"] = round(float(np.std(values, ddof=1)), 5)
    return out


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, one table a question."""
    lines: list[str] = []
    for question in dict.fromkeys(row["question"] for row in rows):
        lines += [
            f"## {question}",
            "",
            "| | success | 95 % | by seed | episodes | row error | row error, 1 step | imagined, x better "
            "| steps | min |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row["question"] == question):
            won = row["success"]
            seeds = ", ".join(_percent(rate) for rate in row["by_seed"].values())
            cells = [
                row["label"],
                _percent(won["rate"]),
                f"{100 * won['low']:.0f} to {100 * won['high']:.0f}",
                seeds,
                str(won["of"]),
                *(_spread(row, name) for name in ("row_error", "row_error_1", "imagined_ratio_end")),
                _cell(row.get("step"), ".0f"),
                _cell(row["seconds"] / 60 if "seconds" in row else None, ".1f"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _spread(row: dict[str, Any], name: str) -> str:
    told = _cell(row.get(name), ".3f")
    return f"{told} ± {row[f'{name}_spread']:.3f}" if f"{name}_spread" in row else told


def report(recipe: Recipe, rows: Sequence[Row], asked: Sequence[Trial]) -> str:
    """Write results.json and table.md of what there is; returns the table."""
    found = [figures(recipe, row, asked) for row in rows]
    told = table(found)
    recipe.out.mkdir(parents=True, exist_ok=True)
    (recipe.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (recipe.out / "table.md").write_text(told)
    return told


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--start", type=Path, default=Path("runs/teacher/see/average.safetensors"))
    parser.add_argument("--normalisation", type=Path, default=Path("runs/teacher/normalisation.json"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablate"))
    parser.add_argument("--calibration", type=Path, default=Path("calibration/so101-sim"))
    parser.add_argument("--config", choices=CONFIGS, default="nano")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    parser.add_argument("--steps", type=int, default=400, help="of the standard recipe")
    parser.add_argument("--equal", choices=("flops", "steps"), default="flops")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=(0, 1, 2), help="the first one for all questions"
    )
    parser.add_argument("--episodes", type=int, default=60, help="in closed loop, for each row and seed")
    parser.add_argument("--seed", type=int, default=5, help="0 to 99: which episodes")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of training")
    parser.add_argument("--report", action="store_true", help="tables of what there is; run nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    a = arguments_of(argv)
    recipe = Recipe(a.data, a.start, a.normalisation, a.out, a.config, a.batch, a.threads)
    rows, asked = plan(a.only, a.seeds), trials(a.seed, a.episodes)
    if not a.report:
        runs = list(dict.fromkeys(run for row in rows for run in row.runs))
        for run, steps in steps_of(runs, CONFIGS[a.config], a.batch, a.steps, a.equal).items():
            print(f"{run.name}: {steps} steps", flush=True)
            train(recipe, run, steps)
        judge(recipe.out, questions(recipe, rows, asked), a.calibration, a.workers)
    print(report(recipe, rows, asked))


if __name__ == "__main__":
    main()
