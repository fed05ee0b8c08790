"""A model's card and its manifest's [measured], written from the score of an evaluation.

    edge-wam evaluate --policy student@1=models/so101-tabletop@1 --episodes 200 --seed 7 --out runs/score
    python -m edge_wam.train.card --model models/so101-tabletop --results runs/score/score.json

Nothing in either is typed by hand. Results of other weights are refused: a card speaks of the files beside
it. Every policy of the same run stands in the card too, so that a student is seen beside its teacher.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.manifest import Manifest
from edge_wam.sim import tasks
from edge_wam.sim.score import HEADS, Figures
from edge_wam.tomlfile import Scalar


def read_score(path: Path) -> Figures:
    """The JSON of an evaluation: a file of its own, or the last line of what was printed. EdgeWamError."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        score = json.loads(lines[-1]) if lines else None
    except (OSError, ValueError) as error:
        raise EdgeWamError(f"{path}: expected the JSON of an evaluation, found {error}") from error
    if not isinstance(score, dict) or "policies" not in score:
        raise EdgeWamError(
            f"{path}: expected an evaluation's JSON with 'policies'; try: edge-wam evaluate --out"
        )
    return score


def policy_of(score: Figures, manifest: Manifest, label: str = "") -> str:
    """The label of the policy that is this model: the same files, its steps and noise if there is a choice.

    EdgeWamError where the results are of another model, or `label` is none of them.
    """
    policies: Mapping[str, Figures] = score["policies"]
    if label and label not in policies:
        raise EdgeWamError(f"the results know no policy '{label}'; they have: {', '.join(policies)}")
    names = [label] if label else list(policies)
    same = [name for name in names if policies[name]["files"] == dict(manifest.files)]
    if not same:
        raise EdgeWamError(
            f"the results ({', '.join(names)}) are of other files than those of model '{manifest.name}' "
            f"(sha256); try: edge-wam evaluate again with this model"
        )
    wanted = (manifest.steps, manifest.noise_std)
    return min(same, key=lambda name: (policies[name]["steps"], policies[name]["noise_std"]) != wanted)


def measured(score: Figures, label: str) -> dict[str, Scalar]:
    """What goes into the manifest: flat, numbers only."""
    one = score["policies"][label]
    flat: dict[str, Any] = {
        "success": one["success"]["rate"],
        "success_low": one["success"]["low"],
        "success_high": one["success"]["high"],
        "episodes": one["success"]["of"],
        "seed": score["seed"],
        "steps": one["steps"],
        "noise_std": one["noise_std"],
    }
    for part in ("tasks", "groups"):
        flat |= {f"success_{name}": rate["rate"] for name, rate in one[part].items()}
    for name in ("wrong_object", "seconds_p50", "action_mrad", "infer_ms_p50", "infer_ms_p99"):
        flat[name] = one[name]
    for horizon in one["imagined"]:
        flat[f"imagined_better_{round(1e3 * horizon['ahead_s'])}_ms"] = horizon["times_better"]
    return {name: value for name, value in flat.items() if value is not None}


# --- the card -------------------------------------------------------------------------------


def text(manifest: Manifest, score: Figures, label: str) -> str:
    """The card, in Markdown."""
    one, parents = score["policies"][label], manifest.parents
    cameras = "; ".join(f"{c.name} {c.width}x{c.height} at {c.fps} Hz" for c in manifest.cameras)
    return f"""# {manifest.name}

A World Action Model of {parents.get("parameters", 0):,} parameters ({parents.get("config", "unnamed")}) for a
simulated SO-101. From one frame a camera, a command's words and the joints it predicts {manifest.rows} rows
of joint targets, {manifest.dt_s * 1e3:.1f} ms apart, and both cameras' frames halfway through and at the end
of them. Flow matching, {_many(one["steps"], "step")} from {_noise(one["noise_std"])}, {manifest.precision}.

- **Cameras**: {cameras}.
- **Commands** ({len(manifest.commands)}): {_examples(manifest)}. Spoken in {", ".join(manifest.languages)}.
- **Held out of training**: {_held_out()}; and {_many(_held_out_phrasings(), "phrasing")} of the commands.
- **Files**: weights.safetensors, three ONNX graphs that refer to it, golden.safetensors (observations with
  eager torch's answers), manifest.toml.

## Measured

`{_command(score)}`:
{_many(one["success"]["of"], "episode")} on tables never trained on, a chunk {score["delay_ms"]} ms after its
frame. Success with 95 % intervals (Wilson).

{_success(one)}

- **Time to success**: {_value(one["seconds_p50"], "s")} (median).
- **Wrong object**: in {_many(one["wrong_object"], "episode")} ({100 * one["wrong_object_rate"]:.1f} %).
- **Imagined frames**, against "nothing changes", on pixels that moved: {_imagined(one)}.
- **Actions**, open loop beside an expert: {_value(one["action_mrad"], "mrad")} off (mean of 8 rows,
  {_many(one["action_episodes"], "demonstration")}).
- **Latency** from frames to rows, one CPU thread, every core busy with an episode of its own:
  {_value(one["infer_ms_p50"], "ms")} (median), {_value(one["infer_ms_p99"], "ms")} (p99).

In the same run, on the same episodes:

{_beside(score["policies"], label)}

## Made from

{_parents(parents)}

## What it cannot do

Anything but these commands, with cubes of 20 to 30 mm and flat plates on a bare table, under these two
cameras, in simulation. It has never seen a real camera's image.{_weakest(one)}
It is not a safety device; act/guard.py is.
"""


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _noise(std: float) -> str:
    return "the middle, without noise" if std == 0 else f"noise of {std:g} standard deviations"


def _value(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{value:g} {unit}"


def _examples(manifest: Manifest) -> str:
    """One of each verb, in the model's words."""
    first: dict[str, str] = {}
    for command in manifest.commands:
        first.setdefault(tasks.command(command.id).verb, command.tokens)
    return ", ".join(f'"{words}"' for words in first.values())


def _held_out() -> str:
    return ", ".join(f"{verb} + {colour}" for verb, colour in sorted(tasks.HELD_OUT_PAIRS))


def _held_out_phrasings() -> int:
    return sum(len(tasks.held_out_phrases(command)) for command in tasks.commands())


def _command(score: Figures) -> str:
    """The evaluation again, and what it was restricted to."""
    parts = ["edge-wam evaluate", f"--episodes {score['episodes']}", f"--seed {score['seed']}"]
    return " ".join(parts + [f"--{name} {score[name]}" for name in ("task", "group") if score.get(name)])


def _share(rate: Figures) -> str:
    return "-" if rate["rate"] is None else f"{100 * rate['rate']:.1f} %"


def _interval(rate: Figures) -> str:
    return f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}"


def _row(name: str, rate: Figures) -> str:
    return f"| {name} | {_share(rate)} | {_interval(rate)} | {rate['done']} of {rate['of']} |"


def _success(one: Figures) -> str:
    lines = ["| | success | 95 % interval | episodes |", "|---|---|---|---|", _row("all", one["success"])]
    lines += [_row(name, rate) for name, rate in one["tasks"].items()]
    lines += [_row(f"{HEADS.get(name, name)} ({name})", rate) for name, rate in one["groups"].items()]
    lines += [_row(f"seen: {name}", rate) for name, rate in one["tasks_seen"].items()]
    return "\n".join(lines)


def _imagined(one: Figures) -> str:
    parts = [
        f"{horizon['times_better']:.2f} times better at +{horizon['ahead_s']:.2f} s"
        for horizon in one["imagined"]
        if horizon["times_better"] is not None
    ]
    return ", ".join(parts) or "not measured"


def _beside(policies: Mapping[str, Figures], label: str) -> str:
    lines = [
        "| policy | steps | noise | precision | success | 95 % interval | infer ms p50 | weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in policies.items():
        rate, weights = one["success"], one["files"].get("weights.safetensors", "")
        shown = f"**{name}**" if name == label else name
        infer_ms = "-" if one["infer_ms_p50"] is None else f"{one['infer_ms_p50']:g}"
        ran = (one["steps"], f"{one['noise_std']:g}", one["precision"])
        cells = (shown, *ran, _share(rate), _interval(rate), infer_ms)
        lines.append("".join(f"| {cell} " for cell in cells) + f"| `{weights[:12]}` |")
    return "\n".join(lines)


def _parents(parents: Mapping[str, Scalar]) -> str:
    if not parents:
        return "The manifest names no parents."
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in parents.items())])


def _weakest(one: Figures) -> str:
    """Where it fails most, by name."""
    tried = {name: rate for name, rate in one["tasks"].items() if rate["rate"] is not None}
    if len(tried) < 2:
        return ""
    name = min(tried, key=lambda task: tried[task]["rate"])
    return f" Its weakest task is {name} ({100 * tried[name]['rate']:.0f} %)."


def write(model: Path, results: Path, label: str = "") -> str:
    """Manifest and card of the model in a folder; returns the policy's label. EdgeWamError."""
    manifest, score = manifests.load(model), read_score(results)
    label = policy_of(score, manifest, label)
    manifest = replace(manifest, measured=measured(score, label))
    manifests.write(model, manifest)
    (model / "README.md").write_text(text(manifest, score, label), encoding="utf-8")
    return label


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="score.json of edge-wam evaluate --out")
    parser.add_argument("--policy", default="", help="its label, where the files do not tell")
    arguments = parser.parse_args()
    try:
        label = write(arguments.model, arguments.results, arguments.policy)
    except EdgeWamError as error:
        raise SystemExit(f"card: {error}") from None
    print(f"{arguments.model}: card and manifest say what '{label}' reached")


if __name__ == "__main__":
    main()
