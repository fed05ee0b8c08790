"""Training in several processes, on one machine or many: `torchrun`, and nothing else changes.

    torchrun --standalone --nproc-per-node 8 -m edge_wam.train.teacher joint --config 300M --batch 512
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host:29500 -m ...

The batch of a step is cut into *shares* of equal size, and every share draws its samples, its light and its
noise from a generator of its own, seeded by (seed, step, share). A process takes one share after another
(`--accumulate`), the processes take different ones, and the gradients of all shares are averaged. So a run
is a function of its seed and its number of shares, however many processes there are: two processes of one
share each do the same, up to the order of sums, as one process of two. That is what the test tests.

Gradients travel by torch's DistributedDataParallel, over nccl between GPUs and gloo between CPUs. All that
follows from them (parameters, moments, the moving average) is computed by every process alike; the first
one alone writes. Several machines need the output folder on a file system they share, to resume from.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from edge_wam.errors import EdgeWamError

# While the first process looks at held-out data and saves, the others wait for its gradients.
PATIENCE = timedelta(minutes=60)
CPU_FLAGS = Path("/proc/cpuinfo")

Tensors = TypeVar("Tensors")


class Team(NamedTuple):
    """The processes that train one model, `size` in all. This one computes on `device`, `accumulate` shares
    of every step."""

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: torch.device = torch.device("cpu")
    accumulate: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes logs, pictures and checkpoints."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Cores of this machine for each of its processes."""
        return max(1, (os.cpu_count() or 1) // self.local_size)

    @property
    def shares(self) -> range:
        """The numbers of the shares this process computes in every step, of size * accumulate in all."""
        return range(self.rank * self.accumulate, (self.rank + 1) * self.accumulate)

    def share_size(self, batch: int) -> int:
        """Samples of a share. EdgeWamError if the batch cannot be cut so."""
        shares = self.size * self.accumulate
        if batch % shares or batch < shares:
            raise EdgeWamError(
                f"a batch of {batch} does not go into {shares} equal shares ({self.size} processes, "
                f"{self.accumulate} each); try: --batch {-(-batch // shares) * shares}"
            )
        return batch // shares

    def wrap(self, model: nn.Module, losses: Callable[..., Any]) -> nn.Module:
        """A module that computes `losses` (a tensor, or a dict of them) of `model`, and whose backward pass
        averages gradients over the team. What is trained must be settled: later thaws are not noticed.

        What a loss does not depend on, like the imagination in steps without video, gets no gradient, as it
        would alone.
        """
        lesson = Lesson(model, losses)
        if self.size == 1:
            return lesson
        return DistributedDataParallel(lesson, forward_sync_buffers=False, find_unused_parameters=True)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def mean(self, figures: dict[str, float]) -> dict[str, float]:
        """Figures averaged over the team; every process must have the same names."""
        if self.size == 1 or not figures:
            return figures
        values = torch.tensor(list(figures.values()), dtype=torch.float64).to(self._wire())
        dist.all_reduce(values)
        return dict(zip(figures, (values / self.size).tolist(), strict=True))

    def check(self, model: nn.Module) -> None:
        """Raise RuntimeError if the processes' parameters are not the same, bit for bit."""
        if self.size == 1:
            return
        with torch.no_grad():
            sums = [p.detach().double() for p in model.parameters()]
            ours = torch.stack([torch.stack([x.sum(), x.square().sum()]) for x in sums]).to(self._wire())
        theirs = [torch.empty_like(ours) for _ in range(self.size)]
        dist.all_gather(theirs, ours)
        apart = [rank for rank, other in enumerate(theirs) if not torch.equal(other, theirs[0])]
        if apart:
            raise RuntimeError(f"the model of process {apart} is no longer that of process 0")

    def _wire(self) -> torch.device:
        """Where a tensor must lie to be sent."""
        return self.device if dist.get_backend() == "nccl" else torch.device("cpu")


class Lesson(nn.Module):
    """A model and what is asked of it, as one forward pass: gradients are averaged around that."""

    def __init__(self, model: nn.Module, losses: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, *arguments: Any) -> Any:
        return self.losses(*arguments)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What `join` and the team's threads are told on the command line: accumulate, device, threads."""
    parser.add_argument("--accumulate", type=int, default=1, help="shares of a batch, one after another")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: GPU if any")
    parser.add_argument(
        "--threads", type=int, default=None, help="default: this process's share of the cores"
    )


@contextlib.contextmanager
def join(device: str = "auto", accumulate: int = 1) -> Iterator[Team]:
    """The team that torchrun started, until the end of the block; a team of one without torchrun.

    device: "auto" is a GPU for each local process if there are any, else the CPU; or "cpu", "cuda".
    accumulate: shares of a step for each process.
    """
    rank, size, local, local_size = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if cuda and local >= torch.cuda.device_count():
        raise EdgeWamError(
            f"process {local} of this machine has no GPU: {torch.cuda.device_count()} found; "
            f"try: torchrun --nproc-per-node {max(1, torch.cuda.device_count())}, or --device cpu"
        )
    where = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(where)
    if size > 1:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    team = Team(rank, size, local_size, where, accumulate)
    try:
        yield team
        team.wait()  # who leaves while others still talk makes them abort
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def generator(seed: int, step: int, share: int) -> np.random.Generator:
    """All that is random in one share of one step: a run that was stopped goes on exactly where it was."""
    return np.random.default_rng((seed, step, share))


def autocast(device: torch.device) -> Any:
    """bf16 where the device computes in it, fp32 elsewhere (emulated bf16 is slower than fp32)."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        flags = CPU_FLAGS.read_text() if CPU_FLAGS.exists() else ""
        fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def unsynchronised(lesson: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Around every share of a step: only the last one's backward pass sends gradients."""
    if isinstance(lesson, DistributedDataParallel) and not last:
        return lesson.no_sync()
    return contextlib.nullcontext()


def moved(tensors: Tensors, device: torch.device) -> Tensors:
    """Tensors, in tuples, lists and dicts as they come, where `device` is."""
    there: Tensors = tree_map(lambda x: x.to(device) if isinstance(x, torch.Tensor) else x, tensors)
    return there


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes."""
    return next(model.parameters()).device
