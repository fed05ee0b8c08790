"""A trained model -> models/<name>/: weights, three portable graphs, a golden batch and the manifest.

    python -m edge_wam.train.export --weights runs/teacher/joint/average.safetensors

The graphs are ONNX: `context` (frames, words, joints -> keys and values), `act` (one denoising step)
and `dream` (one step of the future's). They hold no weights: every large tensor is a reference into
weights.safetensors, in half precision, widened where it is used. So there is one copy of the weights
(a few MB), and graph and weights cannot disagree.

The golden batch is real observations with the answers of eager torch on the very weights shipped; the
runtime refuses an engine that does not reproduce it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_wam import manifest as manifests
from edge_wam.sim import tasks
from edge_wam.sim.scene import CROP_PX, FRAME_HEIGHT_PX, FRAME_RATE_HZ, FRAME_WIDTH_PX
from edge_wam.think.backend import INPUTS, OUTPUTS
from edge_wam.think.engine import FILES
from edge_wam.think.features import FUTURES, IMAGINED_PX, Normalisation
from edge_wam.train import flow, rooflines
from edge_wam.train.data import BOX_PX, CAMERAS, CHUNK_DT_S, CHUNK_ROWS
from edge_wam.train.dataset import NONE, Batch, Episodes, make_features
from edge_wam.train.graphs import graphs
from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.teacher import load_normalisation
from edge_wam.types import JOINTS

STEPS, REPLAN_S = 10, 0.2
GOLDEN = 6  # observations in the golden batch
REFERENCED_FROM = 256  # elements; smaller tensors stay in the graph


def half(model: WorldActionModel) -> dict[str, Tensor]:
    """Round the model's weights to half precision in place; returns the tensors to ship."""
    shipped = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in shipped.items()})
    return shipped


def _offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes lie in a safetensors file: name -> (offset, length)."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        n: (8 + size + e["data_offsets"][0], e["data_offsets"][1] - e["data_offsets"][0])
        for n, e in header.items()
    }


def _refer(graph: Any, weights: Path) -> int:
    """Replace the graph's large initialisers by references into the weights file; returns how many."""
    from onnx import TensorProto, helper

    offsets, referred, casts = _offsets(weights), 0, []
    for tensor in list(graph.graph.initializer):
        name = tensor.name.removeprefix("model.")
        if name not in offsets or int(np.prod(tensor.dims)) < REFERENCED_FROM:
            continue
        stored = TensorProto(name=f"{tensor.name}.f16", data_type=TensorProto.FLOAT16, dims=tensor.dims)
        stored.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", weights.name),
            ("offset", offsets[name][0]),
            ("length", offsets[name][1]),
        ):
            stored.external_data.add(key=key, value=str(value))
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
        graph.graph.initializer.remove(tensor)
        graph.graph.initializer.append(stored)
        referred += 1
    for cast in reversed(casts):
        graph.graph.node.insert(0, cast)
    return referred


def export_graphs(model: WorldActionModel, out: Path, example: dict[str, tuple[Tensor, ...]]) -> None:
    """Write the three graphs beside weights.safetensors."""
    import onnx

    for name, module in graphs(model).items():
        program = torch.onnx.export(
            module,
            example[name],
            input_names=INPUTS[name],
            output_names=OUTPUTS[name],
            dynamo=True,
            optimize=False,  # folding would turn weights into other tensors
            verbose=False,
        )
        assert program is not None
        graph = program.model_proto
        if not _refer(graph, out / "weights.safetensors"):
            raise RuntimeError(f"no weight of graph {name} was found in the weights file")
        for node in graph.graph.node:
            del node.metadata_props[:]  # traces of this machine's paths
            node.doc_string = ""
        for value in graph.graph.value_info:
            del value.metadata_props[:]
        del graph.metadata_props[:]
        del graph.graph.metadata_props[:]
        onnx.save(graph, str(out / f"{name}.onnx"))


@torch.no_grad()
def golden(
    model: WorldActionModel, batch: Batch, steps: int, seed: int, noise_std: float = 1.0
) -> dict[str, Tensor]:
    """Observations, one at a time, and eager answers: with nothing committed, and with rows committed."""
    generator = torch.Generator().manual_seed(seed)
    kept: dict[str, list[Tensor]] = {}
    for index in range(len(batch.tokens)):
        images, tokens, state = (
            batch.images[index : index + 1],
            batch.tokens[index : index + 1],
            batch.state[index : index + 1],
        )
        context = model.context(images, tokens, state)
        noise = noise_std * torch.randn(1, model.config.rows, model.config.joints, generator=generator)
        committed = torch.full_like(noise, torch.nan)
        if index % 2:
            committed[:, :4] = batch.rows[index : index + 1, :4]
        rows, act_kv = flow.sample_actions(model, context, noise, steps, committed)
        dreamt = torch.randn(1, len(CAMERAS), FUTURES, 3, IMAGINED_PX, IMAGINED_PX, generator=generator)
        frames = flow.sample_video(model, context, act_kv, images, dreamt, 1)
        entry = {"images": images, "tokens": tokens, "state": state, "noise": noise, "committed": committed,
                 "rows": rows, "video_noise": dreamt.half(), "frames": frames.half(),
                 "progress": context["progress"]}  # fmt: skip
        for name, value in entry.items():
            kept.setdefault(name, []).append(value)
    return {name: torch.cat(values).contiguous() for name, values in kept.items()}


def golden_batch(data: Episodes, normalisation: Normalisation, count: int, seed: int) -> Batch:
    """`count` recordings as the robot would see them: no lighting, no noise, uint8 frames."""
    features, rng = make_features(normalisation), np.random.default_rng(seed)
    index = data.draw(count, rng, data.usable)
    position = data.arrays["position_rad"][index].astype(np.float64)
    return Batch(
        torch.from_numpy(data.frames[index]),
        data.phrases.draw(data.command[index], rng),
        torch.from_numpy(features.state(position, data.arrays["sent_rad"][index])),
        NONE,
        torch.from_numpy(features.rows(data.arrays["target_rad"][index], position)),
    )


def make_manifest(
    folder: Path | None,
    normalisation: Normalisation,
    parents: dict[str, Any],
    steps: int = STEPS,
    name: str = tasks.SUITE,
    precision: str = "fp32",
    noise_std: float = 1.0,
) -> manifests.Manifest:
    """The contract, from the suite; hashes are of what lies in `folder` (None: the model stays in torch)."""
    return manifests.Manifest(
        name=name,
        joints=JOINTS,
        dt_s=CHUNK_DT_S,
        rows=CHUNK_ROWS,
        committed_rows_max=flow.COMMITTED_MAX,
        replan_s=REPLAN_S,
        cameras=tuple(
            manifests.CameraView(name, FRAME_WIDTH_PX, FRAME_HEIGHT_PX, FRAME_RATE_HZ, CROP_PX, BOX_PX)
            for name in CAMERAS
        ),
        vocabulary=tasks.vocabulary(),
        words=tasks.WORDS,
        commands=tuple(manifests.Command(c.id, c.tokens, c.phrases) for c in tasks.commands()),
        normalisation=normalisation,
        steps=steps,
        noise_std=noise_std,
        precision=precision,
        files={} if folder is None else manifests.hashes(folder, FILES),
        measured={},
        parents=parents,
    )


def export_model(
    model: WorldActionModel,
    normalisation: Normalisation,
    batch: Batch,
    out: Path,
    parents: dict[str, Any],
    steps: int = STEPS,
    name: str = tasks.SUITE,
    noise_std: float = 1.0,
) -> None:
    """A model (which is rounded to half precision), with `batch` as its golden observations, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    model.eval()
    save_file(half(model), out / "weights.safetensors")
    save_file(golden(model, batch, steps, 0, noise_std), out / "golden.safetensors")
    export_graphs(model, out, examples(model, batch))
    parents = {"parameters": sum(p.numel() for p in model.parameters()), **parents}
    manifests.write(out, make_manifest(out, normalisation, parents, steps, name, noise_std=noise_std))


def export(
    weights: Path,
    normalisation_path: Path,
    data_folder: Path,
    out: Path,
    config_name: str,
    steps: int = STEPS,
    name: str = tasks.SUITE,
    noise_std: float = 1.0,
) -> None:
    """Everything in `out`, from files."""
    model = WorldActionModel(CONFIGS[config_name])
    model.load_state_dict(load_file(weights))
    normalisation, data = load_normalisation(normalisation_path), Episodes.load(data_folder)
    size = rooflines.count(config_name, CONFIGS[config_name])
    parents = {"config": config_name, "demonstrations": data.episodes, "recordings": len(data.usable)}
    parents |= {f"{name}_gflop": round(size.graphs[name].flops / 1e9, 5) for name in ("context", "act")}
    batch = golden_batch(data, normalisation, GOLDEN, seed=0)
    export_model(model, normalisation, batch, out, parents, steps, name, noise_std)


@torch.no_grad()
def examples(model: WorldActionModel, batch: Batch) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of batch 1 for each graph: the shapes are fixed at one observation."""
    images, tokens, state = batch.images[:1], batch.tokens[:1], batch.state[:1]
    context = model.context(images, tokens, state)
    rows, committed, level = batch.rows[:1], torch.zeros(1, model.config.rows), torch.ones(1)
    _, act_kv = model.act(context["kv"], context["hint"], rows, committed, level)
    noisy = torch.zeros(1, model.config.cameras, FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
    return {
        "context": (images, tokens, state),
        "act": (context["kv"], context["hint"], rows, committed, level),
        "dream": (context["kv"], act_kv, context["fine"], context["coarse"], images, noisy, level),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=Path("runs/teacher/joint/average.safetensors"))
    parser.add_argument("--normalisation", type=Path, default=Path("runs/teacher/normalisation.json"))
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--out", type=Path, default=Path("models/so101-tabletop"))
    parser.add_argument("--config", choices=CONFIGS, default="nano")
    parser.add_argument("--steps", type=int, default=STEPS, help="denoising steps it is to be run with")
    parser.add_argument(
        "--noise-std", type=float, default=1.0, help="spread of the noise that they begin from, 0 to 1"
    )
    parser.add_argument("--name", default=tasks.SUITE)
    arguments = parser.parse_args()
    export(
        arguments.weights,
        arguments.normalisation,
        arguments.data,
        arguments.out,
        arguments.config,
        arguments.steps,
        arguments.name,
        arguments.noise_std,
    )
    print(f"{arguments.out}: {', '.join(sorted(p.name for p in arguments.out.iterdir()))}")


if __name__ == "__main__":
    main()
