"""An exported model -> the same model in INT8, and a table of what each layer's rounding costs.

    python -m edge_wam.train.quantize --model models/so101-tabletop --data runs/data \
        --out models/so101-tabletop-int8

Weights are rounded by output channel, inputs by tensor, to whole 127ths of the largest value that was seen
while the model answered real recordings (NVIDIA ModelOpt, max calibration; `--smooth` moves the inputs'
outliers into the weights first: SmoothQuant, arXiv 2211.10438).

Which layers? Each is rounded alone, and the model's answers on other recordings are compared with the float
model's. Two kinds stay in float: those that nothing is gained from (under half a percent of a chunk's
multiplications; most of them see one vector, and the joints among them need more than eight bits), and then
the one that hurts most for its size, and the next, until the whole is good enough. What draws imagined
frames is of the first kind, since nobody waits for them; besides, OpenVINO 2026.4 gets its convolutions
wrong in INT8 (they see two maps joined; the golden batch found it). The table is printed and written beside
the model.

The golden batch is answered by the rounded model in eager torch: what the engine is checked against is what
was judged here.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.think.backend import GRAPHS
from edge_wam.think.engine import FILES
from edge_wam.think.features import FUTURES, IMAGINED_PX
from edge_wam.think.store import VARIANT
from edge_wam.train import export, flow, qdq, weights
from edge_wam.train.dataset import Batch, Episodes
from edge_wam.train.model import WorldActionModel

CALIBRATION, HELD_OUT = 256, 64  # recordings
AT_ONCE = 32  # of them, through the model
WORTH = 0.005  # of all multiplications: a layer below this has nothing to gain
FLOAT_MOST = 0.25  # of the multiplications may stay in float for the sake of precision
ROWS_GOAL, FRAMES_GOAL = 0.012, 0.02  # mean error of the rows in standard deviations, of frames in unit scale
FALLBACKS = (1, 2)  # steps
GIVEN = 4  # rows given as decided to every second observation, as in the golden batch


class Answers(NamedTuple):
    """rows (n, K, J) in standard deviations, frames (n, C, F, 3, 48, 48) in unit scale, or none."""

    rows: Tensor
    frames: Tensor


class Error(NamedTuple):
    """Difference to the float model: mean, 99th percentile and largest of the rows; mean of the frames."""

    rows_mean: float
    rows_p99: float
    rows_max: float
    frames_mean: float

    @property
    def cost(self) -> float:
        """1 is what may be lost in all."""
        return self.rows_mean / ROWS_GOAL + self.frames_mean / FRAMES_GOAL


@dataclass(frozen=True, slots=True)
class Line:
    """One layer of the table: its multiplications for one chunk, and its error alone."""

    name: str
    multiplications: int
    share: float
    error: Error
    precision: str = "int8"
    why: str = ""


class Examiner:
    """Asks a model about real recordings, always with the same noise (of the spread that it is run with)."""

    def __init__(
        self, batch: Batch, model: WorldActionModel, steps: int, noise_std: float = 1.0, seed: int = 0
    ) -> None:
        self.batch, self.steps = batch, steps
        config, count = model.config, len(batch.tokens)
        generator = torch.Generator().manual_seed(seed)
        self.noise_std = noise_std
        self.drawn = torch.randn(count, config.rows, config.joints, generator=generator)
        shape = (count, config.cameras, FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
        self.dreamt = torch.randn(shape, generator=generator)
        self.committed = torch.full_like(self.drawn, torch.nan)
        self.committed[1::2, :GIVEN] = batch.rows[1::2, :GIVEN]

    def show(self, model: WorldActionModel) -> None:
        """Let it meet everything that it may be run with: its own steps, one and two; its own noise, all."""
        for steps in sorted({self.steps, *FALLBACKS}):
            for noise_std in sorted({self.noise_std, 1.0}):
                self.ask(model, steps, noise_std)

    @torch.no_grad()
    def ask(
        self,
        model: WorldActionModel,
        steps: int = 0,
        noise_std: float | None = None,
        imagine: bool = True,
    ) -> Answers:
        """Everything that the robot would ask for; steps 0 and noise_std None: as it would."""
        noise = self.drawn * (self.noise_std if noise_std is None else noise_std)
        rows, frames = [], []
        for begin in range(0, len(noise), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            images = self.batch.images[part]
            context = model.context(images, self.batch.tokens[part], self.batch.state[part])
            ours, act_kv = flow.sample_actions(
                model, context, noise[part], steps or self.steps, self.committed[part]
            )
            rows.append(ours)
            if imagine:
                frames.append(flow.sample_video(model, context, act_kv, images, self.dreamt[part], 1))
            else:
                frames.append(torch.empty(0))
        return Answers(torch.cat(rows), torch.cat(frames))


def difference(ours: Answers, truth: Answers) -> Error:
    """What rounding has changed."""
    rows = (ours.rows - truth.rows).abs().flatten()
    both = len(ours.frames) and len(truth.frames)
    frames = float((ours.frames - truth.frames).abs().mean()) if both else 0.0
    return Error(float(rows.mean()), float(rows.quantile(0.99)), float(rows.max()), frames)


def candidates(model: nn.Module) -> list[str]:
    """The layers that could be rounded: products with a weight."""
    return [name for name, part in model.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]


@torch.no_grad()
def multiplications(model: WorldActionModel, batch: Batch, steps: int) -> dict[str, int]:
    """Multiplications of each layer from one observation to one chunk; 0 for what only imagines."""
    counts = dict.fromkeys(candidates(model), 0)

    def count(name: str) -> Callable[[Any, Any, Tensor], None]:
        def hook(module: Any, _: Any, output: Tensor) -> None:
            counts[name] += output.numel() * module.weight[0].numel()

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(count(name)) for name in counts]
    one = batch.part(0, 1)
    context = model.context(one.images, one.tokens, one.state)
    for _ in range(steps):
        model.act(context["kv"], context["hint"], one.rows, torch.zeros_like(one.rows[..., 0]), torch.ones(1))
    for hook in hooks:
        hook.remove()
    return counts


# --- rounding with ModelOpt -----------------------------------------------------------------


def rounded(
    model: WorldActionModel, names: Collection[str], examiner: Examiner, smooth: bool = False
) -> WorldActionModel:
    """A copy of the model that rounds the layers in `names` as INT8 does, scaled to what `examiner` asks."""
    rules: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    for name in names:
        rules += [
            {"quantizer_name": f"{name}.weight_quantizer", "cfg": {"num_bits": 8, "axis": 0}},
            {"quantizer_name": f"{name}.input_quantizer", "cfg": {"num_bits": 8, "axis": None}},
        ]
    recipe = {"quant_cfg": rules, "algorithm": "smoothquant" if smooth else "max"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # plugins not installed, layers not asked for
        try:
            import modelopt.torch.quantization as mtq
        except ImportError as error:
            raise EdgeWamError(
                f"quantisation needs nvidia-modelopt ({error}); try: pip install -e '.[train]'"
            ) from None
        made: WorldActionModel = mtq.quantize(copy.deepcopy(model), recipe, examiner.show)
    return made.eval()


def switch(model: WorldActionModel, names: Collection[str], among: Collection[str]) -> None:
    """Of the rounded layers `among`, round those in `names` only."""
    for name in among:
        part: Any = model.get_submodule(name)
        for quantiser in (part.weight_quantizer, part.input_quantizer):
            (quantiser.enable if name in names else quantiser.disable)()


def layers(model: WorldActionModel, names: Collection[str]) -> dict[str, qdq.Layer]:
    """What is written of the rounded layers."""
    made = {}
    for name in names:
        part: Any = model.get_submodule(name)
        gain = part.input_quantizer.pre_quant_scale
        made[name] = qdq.layer(
            part.weight.detach().numpy(),
            part.weight_quantizer.amax.numpy(),
            float(part.input_quantizer.amax),
            None if gain is None else gain.numpy(),
        )
    return made


# --- which layers -----------------------------------------------------------------------------


def sensitivity(
    model: WorldActionModel, calibration: Examiner, held_out: Examiner, smooth: bool = False
) -> tuple[list[Line], Error]:
    """Every layer's line of the table, most sensitive first, and the error of all that is INT8 in the end."""
    counts = multiplications(model, held_out.batch, held_out.steps)
    total, truth = sum(counts.values()), held_out.ask(model)
    trial = rounded(model, list(counts), calibration, smooth)
    lines = []
    for name, count in counts.items():
        error = Error(0, 0, 0, 0)
        if count:
            switch(trial, [name], counts)
            error = difference(held_out.ask(trial, imagine=False), truth)
        line = Line(name, count, count / total, error)
        why = "small" if line.share < WORTH else ""
        lines.append(replace(line, precision="float", why=why) if why else line)
    # What is gained by rounding a layer is its multiplications; what is lost, about its error squared.
    order = sorted(lines, key=lambda line: -(line.error.cost**2) / max(line.multiplications, 1))
    kept = {line.name: line for line in lines}
    while True:
        ours = [line.name for line in kept.values() if line.precision == "int8"]
        switch(trial, ours, counts)
        error = difference(held_out.ask(trial), truth)
        left = sum(line.share for line in kept.values() if line.precision == "float")
        worst = next((line for line in order if line.name in ours), None)
        if error.cost <= 1 or worst is None or left + worst.share > FLOAT_MOST:
            break
        kept[worst.name] = replace(kept[worst.name], precision="float", why="sensitive")
    return sorted(kept.values(), key=lambda line: -line.error.cost), error


def table(lines: list[Line], error: Error) -> str:
    """The table, in Markdown."""
    head = "| layer | precision | share of multiplications % | rows mean | rows p99 | rows max |"
    rows = [head, "|---|---|---|---|---|---|"]
    for line in lines:
        precision = line.precision + (f" ({line.why})" if line.why else "")
        rows.append(f"| {line.name} | {precision} | {100 * line.share:.2f} | {_figures(line.error)} |")
    rounded_share = 100 * sum(line.share for line in lines if line.precision == "int8")
    rows.append(f"| **all that is int8** | int8 | {rounded_share:.1f} | {_figures(error)} |")
    told = (
        f"Rows in standard deviations. Imagined frames differ by {error.frames_mean:.5f} of the unit scale."
    )
    return "\n".join([*rows, "", told])


def _figures(error: Error) -> str:
    return f"{error.rows_mean:.5f} | {error.rows_p99:.4f} | {error.rows_max:.4f}"


# --- the folder -------------------------------------------------------------------------------


def quantise(
    source: Path, data: Path, out: Path, smooth: bool = False, recordings: tuple[int, int] | None = None
) -> str:
    """The model in `source`, in INT8 in `out`; returns the table. recordings: to calibrate, to judge."""
    manifest = manifests.load(source)
    if manifest.precision != "fp32":
        raise EdgeWamError(f"{source} is a model in {manifest.precision}; try: the float model it came from")
    model = weights.load(source, manifest)
    calibrating, judging = recordings or (CALIBRATION, HELD_OUT)
    episodes = Episodes.load(data)
    batch = export.golden_batch(episodes, manifest.normalisation, calibrating + judging, seed=1)
    run_with = (manifest.steps, manifest.noise_std)
    calibration = Examiner(batch.part(0, calibrating), model, *run_with)
    held_out = Examiner(batch.part(calibrating, calibrating + judging), model, *run_with)
    lines, error = sensitivity(model, calibration, held_out, smooth)
    names = [line.name for line in lines if line.precision == "int8"]
    if not names:
        raise EdgeWamError(f"no layer of {source} can be rounded; try: --data with more recordings")
    made = rounded(model, names, calibration, smooth)
    out.mkdir(parents=True, exist_ok=True)
    qdq.convert(source, out, layers(made, names))
    few = export.golden_batch(episodes, manifest.normalisation, export.GOLDEN, seed=0)
    save_file(export.golden(made, few, manifest.steps, 0, manifest.noise_std), out / "golden.safetensors")
    text = table(lines, error)
    (out / "sensitivity.md").write_text(f"# What rounding each layer costs\n\n{text}\n")
    report = {"calibration": calibrating, "held_out": judging, "smooth": smooth, "int8": error._asdict()}
    report["layers"] = [asdict(line) | {"error": line.error._asdict()} for line in lines]
    (out / "sensitivity.json").write_text(json.dumps(report, indent=1) + "\n")
    parents = dict(manifest.parents) | {
        VARIANT: manifest.files[qdq.WEIGHTS],  # so that `edge-wam compile` tries it in this model's place
        "int8_layers": len(names),
        "int8_share": round(sum(line.share for line in lines if line.precision == "int8"), 4),
        "int8_rows_mean": round(error.rows_mean, 5),
        "calibration_recordings": calibrating,
    }
    ours = replace(
        manifest, precision="int8", files=manifests.hashes(out, FILES), measured={}, parents=parents
    )
    manifests.write(out, ours)
    return text


def kernels(folder: Path) -> dict[str, dict[str, int]]:
    """How many products with a weight the CPU engine computes in int8, and in float, by graph."""
    import openvino

    core, found = openvino.Core(), {}
    for name in GRAPHS:
        compiled = core.compile_model(core.read_model(str(folder / f"{name}.onnx")), "CPU")
        counts = {"int8": 0, "float": 0}
        for node in compiled.get_runtime_model().get_ops():
            told = node.get_rt_info()
            if str(told["layerType"].astype(str)).startswith(("FullyConnected", "Convolution")):
                precision = told["runtimePrecision"].astype(str)
                counts["int8" if precision in ("i8", "u8") else "float"] += 1
        found[name] = counts
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("models/so101-tabletop"), help="in float")
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--out", type=Path, default=Path("models/so101-tabletop-int8"))
    parser.add_argument("--smooth", action="store_true", help="SmoothQuant before rounding")
    parser.add_argument("--recordings", type=int, default=CALIBRATION, help="to calibrate with")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recordings = (arguments.recordings, HELD_OUT)
    print(quantise(arguments.model, arguments.data, arguments.out, arguments.smooth, recordings))
    print(f"the CPU engine's kernels: {kernels(arguments.out)}")


if __name__ == "__main__":
    main()
