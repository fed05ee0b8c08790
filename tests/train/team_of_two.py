"""What test_parallel.py runs in two processes, and in its own: a toy, and the trainer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edge_wam.train import parallel, teacher
from edge_wam.train.parallel import Team


class Toy(nn.Module):
    """Two branches, of which one takes part every second step; and one weight nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.often, self.seldom, self.never = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)

    def losses(self, x: Tensor, seldom: bool) -> dict[str, Tensor]:
        losses = {"often": self.often(x).square().mean()}
        if seldom:
            losses["seldom"] = self.seldom(x).square().mean()
        return losses


def train_toy(team: Team) -> Toy:
    """Five steps."""
    model = Toy()
    lesson = team.wrap(model, model.losses)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    for step in range(5):
        optimiser.zero_grad()
        for share in team.shares:
            rng = parallel.generator(7, step, share)
            x = torch.from_numpy(rng.normal(size=(team.share_size(8), 3)).astype("float32"))
            with parallel.unsynchronised(lesson, share == team.shares[-1]):
                (sum(lesson(x, step % 2 == 0).values()) / team.accumulate).backward()
        optimiser.step()
    return model


def wishes(data: Path, out: Path) -> argparse.Namespace:
    """What the command line would say."""
    return argparse.Namespace(
        data=data,
        out=out,
        start=None,
        config="debug",
        steps=4,
        batch=8,
        lr=1e-3,
        seed=3,
        video_weight=0.5,
        committed_max=6,
        coupling="action_centric",
    )


def train(team: Team, data: Path, out: Path, until: int | None = None) -> teacher.Trainer:
    """The trainer, up to step `until`; it logs every second step."""
    teacher.LOG_EVERY = 2
    trainer = teacher.Trainer("joint", wishes(data, out), team)
    trainer.look = lambda: {"looked": 1.0}  # type: ignore[method-assign]
    trainer.run(until)
    return trainer


def main(data: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    with parallel.join("cpu") as team:
        for accumulate in (1, 2):
            toy = train_toy(team._replace(accumulate=accumulate))
            team.check(toy)
            save_file(toy.state_dict(), folder / f"toy{accumulate}-{team.rank}.safetensors")
        mean = team.mean({"rank": float(team.rank), "one": 1.0})
        assert mean == {"rank": 0.5, "one": 1.0}, mean
        with torch.no_grad():
            toy.often.bias += 1e-6 * team.rank
        try:
            team.check(toy)
        except RuntimeError as error:
            (folder / f"{team.rank}.txt").write_text(str(error))
        train(team, data, folder, until=2)
        trainer = train(team, data, folder)  # goes on from what the first of the team has saved
        assert (trainer.step, trainer.batch_size) == (4, 4)
        for name, model in (("model", trainer.model), ("average", trainer.average.model)):
            tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
            save_file(tensors, folder / f"{name}-{team.rank}.safetensors")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
