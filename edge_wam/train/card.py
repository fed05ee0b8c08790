"""Judge a model in closed loop and write what came of it into its manifest and its card.

    python -m edge_wam.train.card --model models/so101-tabletop --episodes 50 --seed 7

The same evaluation as `edge-wam evaluate`; nothing in the card is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from edge_wam import manifest as manifests
from edge_wam.manifest import Manifest
from edge_wam.sim.evaluate import Job, evaluate, summary, table
from edge_wam.sim.fast import DELAY_S

KEPT = (
    "success",
    "success_low",
    "success_high",
    "episodes",
    "seed",
    "wrong_object",
    "seconds_p50",
    "infer_ms_p50",
)


def text(manifest: Manifest, by_command: str) -> str:
    """The card, in Markdown."""
    measured, parents = manifest.measured, manifest.parents
    cameras = "; ".join(f"{c.name} {c.width}x{c.height} at {c.fps} Hz" for c in manifest.cameras)
    commands = ", ".join(f'"{c.tokens}"' for c in manifest.commands)
    return f"""# {manifest.name}

A World Action Model of {parents.get("parameters", 0):,} parameters ({parents.get("config")}) for a simulated
SO-101. From one frame a camera, the command and the joints it predicts {manifest.rows} rows of joint targets,
{manifest.dt_s * 1e3:.1f} ms apart, and both cameras' frames halfway through and at the end of them.
Flow matching, {manifest.steps} steps.

- **Cameras**: {cameras}.
- **Commands**: {commands}; spoken in {", ".join(manifest.languages)}.
- **Made from**: {parents.get("demonstrations")} scripted demonstrations
  ({parents.get("recordings")} recordings) and single scenes for perception, all simulated;
  by `scripts/train.sh`.
- **Files**: weights.safetensors (half precision), three ONNX graphs that refer to it, golden.safetensors
  (observations with eager torch's answers), manifest.toml.

## Measured

`edge-wam evaluate --episodes {measured.get("episodes")} --seed {measured.get("seed")}` (scenes never trained
on; two distractors; a lift of 5 cm within 12 s):

```
{by_command}
```

Inference {measured.get("infer_ms_p50")} ms (median, {manifest.steps} steps, one CPU thread, on a machine that
did other things too).

## What it cannot do

Anything but picking up one 25 mm cube out of three, on a bare table, under these two cameras, in simulation.
It has never seen a real camera's image and does not know when it is done. It is not a safety device;
act/guard.py is.
"""


def write(model: Path, episodes: int, seed: int, workers: int) -> None:
    """Evaluate, then manifest and card."""
    manifest = manifests.load(model)
    job = Job("calibration/so101-sim", str(model), 0, DELAY_S)
    results = evaluate(job, episodes, seed, workers)
    figures = summary(job, results, seed)
    by_command = table(results, figures)
    manifest = replace(manifest, measured={name: figures[name] for name in KEPT if figures[name] is not None})
    manifests.write(model, manifest)
    (model / "README.md").write_text(text(manifest, by_command))
    print(by_command)
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("models/so101-tabletop"))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    write(arguments.model, arguments.episodes, arguments.seed, arguments.workers)


if __name__ == "__main__":
    main()
