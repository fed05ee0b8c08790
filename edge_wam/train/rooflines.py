"""How large each size of the model is, and how fast an Orin could run it at the very best.

    python -m edge_wam.train.rooflines [--config nano tiny ...] [--json]

Nothing here was measured on an Orin. Parameters and operations are counted on the model itself, built
without memory on torch's meta device; the milliseconds are the two limits no implementation can beat:

* **memory**: every weight a graph uses is read once from DRAM each time that graph runs (blocks are
  shared by the graphs, so they are read by each of them, unless all fits into the GPU's L2 cache);
* **compute**: every multiplication at the tensor cores' dense peak.

A step is what moves the arm: `context` once and `act` once (a one-step student); the larger limit counts.
Real engines stay above it: a kernel launch costs microseconds and there are hundreds, attention and
convolutions with few channels do not reach the peak, clocks and memory are shared with the cameras.

Where the devices' numbers come from. Tensor cores: 4096 INT8 operations an SM and clock, dense, and half
of that in FP16. That is what NVIDIA's figures come to: 20 dense INT8 TOPS of 8 SMs at 625 MHz (Jetson Orin
Nano Series data sheet), 170 sparse, so 85 dense, of 16 SMs at 1.3 GHz (Jetson AGX Orin Series technical
brief, v1.2; without the DLAs, which do not run transformers). Measured on an AGX: 84.8 TOPS.

* Orin Nano 8GB (Super): 8 SMs, 1020 MHz, 102 GB/s: 67 sparse INT8 TOPS (Jetson Orin Nano Super Developer
  Kit data sheet). Without Super: 625 MHz and 68 GB/s.
* Orin NX 16GB: 8 SMs, 918 MHz, 102.4 GB/s (Jetson Orin NX Series data sheet, DS-10712-001; not Super).
* AGX Orin 64GB: 16 SMs, 1300 MHz, 204.8 GB/s, 4 MB of L2 (technical brief, as above).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from edge_wam.think.features import FUTURES, IMAGINED_PX
from edge_wam.train.model import CONFIGS, Config, WorldActionModel

SIZES = ("nano", "tiny", "50M", "300M", "1.3B")
BYTES = {"fp16": 2, "int8": 1}
INT8_PER_SM_AND_CLOCK = 4096  # dense; see above
PEAK_SHARE = {"fp16": 0.5, "int8": 1.0}
L2_BYTES = 4 << 20  # the largest of the three


class Device(NamedTuple):
    """An Orin at its highest clock."""

    name: str
    multiprocessors: int
    clock_mhz: float
    memory_gb_s: float

    def peak_tops(self, precision: str) -> float:
        """Dense operations a second of the tensor cores, in 10^12."""
        whole = self.multiprocessors * self.clock_mhz * 1e6 * INT8_PER_SM_AND_CLOCK
        return whole * PEAK_SHARE[precision] / 1e12


DEVICES = (
    Device("Orin Nano 8GB (Super)", 8, 1020, 102.0),
    Device("Orin NX 16GB", 8, 918, 102.4),
    Device("AGX Orin 64GB", 16, 1300, 204.8),
)


class Graph(NamedTuple):
    """What one run of a graph takes, batch 1: operations (a multiply-add is two), and weights it reads."""

    flops: int
    weights: frozenset[str]


class Size(NamedTuple):
    """A configuration, counted. numel gives the elements of each weight by name."""

    name: str
    parameters: int
    graphs: dict[str, Graph]
    numel: dict[str, int]

    def read_bytes(self, graphs: tuple[str, ...], precision: str) -> int:
        """Least bytes of weights read from DRAM by these graphs, run one after another."""
        each = BYTES[precision]
        once = each * sum(self.numel[n] for n in frozenset().union(*(self.graphs[g].weights for g in graphs)))
        if once <= L2_BYTES:
            return once
        return each * sum(self.numel[name] for graph in graphs for name in self.graphs[graph].weights)


class Limit(NamedTuple):
    """Milliseconds below which a device cannot run one step."""

    memory_ms: float
    compute_ms: float

    @property
    def ms(self) -> float:
        """The one that counts."""
        return max(self)


STEP = ("context", "act")


def limit(size: Size, device: Device, precision: str, graphs: tuple[str, ...] = STEP) -> Limit:
    """The two limits of running these graphs once each."""
    flops = sum(size.graphs[name].flops for name in graphs)
    return Limit(
        size.read_bytes(graphs, precision) / (device.memory_gb_s * 1e9) * 1e3,
        flops / (device.peak_tops(precision) * 1e12) * 1e3,
    )


# --- counting -------------------------------------------------------------------------------


class _Read(TorchFunctionMode):
    """Notes which parameters take part in what runs under it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        self.seen |= {id(leaf) for leaf in leaves if isinstance(leaf, nn.Parameter)}
        return func(*args, **(kwargs or {}))


def build(config: Config) -> WorldActionModel:
    """The model without memory: shapes only."""
    with torch.device("meta"):
        return WorldActionModel(config).eval().requires_grad_(False)


def inputs(config: Config) -> dict[str, Tensor]:
    """One observation and the noise of one chunk and one future, on the meta device."""
    side, rows = config.image_px, config.rows
    return {
        "images": torch.empty(1, config.cameras, side, side, 3, dtype=torch.uint8, device="meta"),
        "tokens": torch.empty(1, config.words, dtype=torch.int64, device="meta"),
        "state": torch.empty(1, 2 * config.joints, device="meta"),
        "rows": torch.empty(1, rows, config.joints, device="meta"),
        "committed": torch.empty(1, rows, device="meta"),
        "level": torch.empty(1, device="meta"),
        "noisy": torch.empty(1, config.cameras, FUTURES, 3, IMAGINED_PX, IMAGINED_PX, device="meta"),
    }


@torch.no_grad()
def count(name: str, config: Config) -> Size:
    """Run the three graphs on the meta device, and count."""
    model = build(config)
    by_id = {id(parameter): key for key, parameter in model.named_parameters()}
    x, graphs = inputs(config), {}

    def counted(graph: str, run: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as flops, _Read() as read:
            result = run()
        graphs[graph] = Graph(flops.get_total_flops(), frozenset(by_id[i] for i in read.seen if i in by_id))
        return result

    seen = counted("context", lambda: model.context(x["images"], x["tokens"], x["state"]))
    _, act_kv = counted(
        "act", lambda: model.act(seen["kv"], seen["hint"], x["rows"], x["committed"], x["level"])
    )
    counted(
        "dream",
        lambda: model.dream(
            seen["kv"], act_kv, seen["fine"], seen["coarse"], x["images"], x["noisy"], x["level"]
        ),
    )
    numel = {key: parameter.numel() for key, parameter in model.named_parameters()}
    return Size(name, sum(numel.values()), graphs, numel)


# --- telling --------------------------------------------------------------------------------


def figures(size: Size) -> dict[str, Any]:
    """Everything of one size, flat, for a JSON line."""
    out: dict[str, Any] = {"config": size.name, "parameters": size.parameters}
    out |= {f"{graph}_gflop": round(made.flops / 1e9, 4) for graph, made in size.graphs.items()}
    out |= {f"{precision}_mb": round(size.parameters * each / 1e6, 2) for precision, each in BYTES.items()}
    for device in DEVICES:
        for precision in BYTES:
            bound = limit(size, device, precision)
            key = f"{device.name} {precision}"
            out[f"{key} memory_ms"] = round(bound.memory_ms, 4)
            out[f"{key} compute_ms"] = round(bound.compute_ms, 4)
    return out


def table(sizes: list[Size]) -> str:
    """Both tables, for people."""
    lines = [
        f"{'config':<8}{'parameters':>15}{'context GF':>12}{'act GF':>10}{'dream GF':>10}"
        f"{'fp16 MB':>10}{'int8 MB':>10}"
    ]
    for size in sizes:
        flops = {name: graph.flops / 1e9 for name, graph in size.graphs.items()}
        lines.append(
            f"{size.name:<8}{size.parameters:>15,}{flops['context']:>12.2f}{flops['act']:>10.2f}"
            f"{flops['dream']:>10.2f}{size.parameters * 2 / 1e6:>10.1f}{size.parameters / 1e6:>10.1f}"
        )
    lines += [
        "",
        "Lower limits of one step (context and one act), in ms: memory / compute. NOT measured, and not to",
        "be reached: weights at full DRAM speed, multiplications at the dense peak of the tensor cores.",
        "",
        f"{'config':<8}" + "".join(f"{device.name:>36}" for device in DEVICES),
        f"{'':<8}" + "".join(f"{'fp16':>20}{'int8':>16}" for _ in DEVICES),
    ]
    for size in sizes:
        cells = []
        for device in DEVICES:
            for precision, width in (("fp16", 20), ("int8", 16)):
                bound = limit(size, device, precision)
                cells.append(f"{bound.memory_ms:.3f} / {bound.compute_ms:.3f}".rjust(width))
        lines.append(f"{size.name:<8}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", nargs="+", choices=CONFIGS, default=SIZES, metavar="NAME")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each size instead of tables")
    arguments = parser.parse_args()
    sizes = [count(name, CONFIGS[name]) for name in arguments.config]
    if arguments.json:
        for size in sizes:
            print(json.dumps(figures(size)))
    else:
        print(table(sizes))


if __name__ == "__main__":
    main()
