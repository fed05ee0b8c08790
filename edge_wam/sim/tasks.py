"""The suite so101-tabletop: its commands, its judge, its clock. One task: pick up the {colour} cube."""

from __future__ import annotations

from typing import NamedTuple

from edge_wam.sim.scene import COLOURS
from edge_wam.sim.world import World

SUITE = "so101-tabletop"
TIME_LIMIT_S = 12.0
FIRST_TRAINING_SEED = 1_000_000  # scenes of smaller seeds are for evaluation; nothing is ever trained on them


class Command(NamedTuple):
    """A task, the canonical words the model is given, and the phrases people may say, by language."""

    id: str
    tokens: str
    phrases: dict[str, tuple[str, ...]]


_ZH_COLOUR = {"red": "红色", "green": "绿色", "blue": "蓝色", "purple": "紫色"}


def pick_command(colour: str) -> Command:
    """`pick up the {colour} cube`."""
    english = (
        f"pick up the {colour} cube",
        f"pick up the {colour} block",
        f"please pick up the {colour} cube",
        f"grab the {colour} cube",
        f"take the {colour} cube",
        f"lift the {colour} cube",
    )
    chinese = (f"拿起{_ZH_COLOUR[colour]}方块", f"拿{_ZH_COLOUR[colour]}方块")
    return Command(f"pick_{colour}", english[0], {"en": english, "zh": chinese})


def commands() -> tuple[Command, ...]:
    """Every command of the suite."""
    return tuple(pick_command(colour) for colour in COLOURS)


def vocabulary() -> tuple[str, ...]:
    """Word of each token id; 0 is padding."""
    words = {word for command in commands() for word in command.tokens.split()}
    return ("", *sorted(words))


def colour_of(command_id: str) -> str:
    """The colour a pick command names."""
    return command_id.removeprefix("pick_")


class Verdict(NamedTuple):
    """success: the named cube is lifted; wrong_object: another one was; over: no need to go on."""

    success: bool
    wrong_object: bool
    over: bool


class Judge:
    """Reads the simulator's state once a tick. A lift counts once it has lasted hold_s."""

    def __init__(self, world: World, command_id: str, hold_s: float = 0.3) -> None:
        self._world, self._colour, self._hold_s = world, colour_of(command_id), hold_s
        self._since_s: float | None = None
        self._wrong = False
        self._start_s = world.time_s

    def look(self) -> Verdict:
        """The verdict so far."""
        lifted, now_s = self._world.lifted(), self._world.time_s
        self._wrong |= lifted is not None and lifted != self._colour
        if lifted != self._colour:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        success = self._since_s is not None and now_s - self._since_s >= self._hold_s
        return Verdict(success, self._wrong, success or now_s - self._start_s >= TIME_LIMIT_S)
