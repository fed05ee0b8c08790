"""The suite so101-tabletop: what can be said, which table suits it, when it is done.

Five verbs, 33 commands. Some pairs of verb and colour and some phrasings of every command are held out:
nothing is ever generated for training from them, so that `edge-wam evaluate` can ask a model for what it
has never been shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from edge_wam.errors import EdgeWamError, nearest
from edge_wam.sim.scene import COLOURS
from edge_wam.sim.world import READY_RAD, Scene, World

SUITE = "so101-tabletop"
VERBS = ("pick", "push", "put", "point", "home")
PLACES = ("", "left", "right", *COLOURS)  # "": none; a colour: the plate of that colour
TIME_LIMIT_S = {"pick": 12.0, "push": 12.0, "put": 16.0, "point": 10.0, "home": 8.0}
FIRST_TRAINING_SEED = 1_000_000  # scenes of smaller seeds are for evaluation; nothing is ever trained on them
EPISODE_SEEDS = 10_000  # evaluation s has the scenes s * 10,000 ...
WORDS = 12  # the longest phrase a model is given

# --- what can be said -----------------------------------------------------------------------

HELD_OUT_PAIRS = frozenset({("push", "green"), ("put", "purple"), ("point", "blue")})

_TRAINING_PHRASES = {  # the first is the canonical one
    "pick": (
        "pick up the {c} cube",
        "pick up the {c} block",
        "please pick up the {c} cube",
        "pick up the {c} cube please",
        "grab the {c} cube",
        "take the {c} cube",
        "lift the {c} cube",
        "lift up the {c} block",
    ),
    "push": (
        "push the {c} cube to the {p}",
        "push the {c} block to the {p}",
        "please push the {c} cube to the {p}",
        "push the {c} cube {p}",
        "move the {c} cube to the {p}",
        "slide the {c} cube to the {p}",
        "slide the {c} block {p}",
    ),
    "put": (
        "put the {c} cube on the {p} plate",
        "put the {c} block on the {p} plate",
        "please put the {c} cube on the {p} plate",
        "put the {c} cube onto the {p} plate",
        "place the {c} cube on the {p} plate",
        "set the {c} cube on the {p} plate",
        "on the {p} plate put the {c} cube",
    ),
    "point": (
        "point at the {c} cube",
        "point at the {c} block",
        "please point at the {c} cube",
        "point to the {c} cube",
        "show me the {c} cube",
        "where is the {c} cube",
    ),
    "home": ("go home", "please go home", "go home please", "go back home", "return home", "move home"),
}
_HELD_OUT_PHRASES = {
    "pick": ("please grab the {c} block", "lift up the {c} cube please"),
    "push": ("please slide the {c} block to the {p}", "move the {c} block {p}"),
    "put": ("please place the {c} block onto the {p} plate", "set the {c} block on the {p} plate"),
    "point": ("please show me the {c} block", "point to the {c} block please"),
    "home": ("please return home", "go back home please"),
}
_CHINESE = {
    "pick": ("拿起{c}方块", "拿{c}方块"),
    "push": ("把{c}方块推到{p}", "向{p}推{c}方块"),
    "put": ("把{c}方块放到{p}盘子上", "把{c}方块放在{p}盘子上"),
    "point": ("指向{c}方块", "指一下{c}方块"),
    "home": ("回家", "回到原位"),
}
ZH = {
    "red": "红色", "green": "绿色", "blue": "蓝色", "purple": "紫色", "left": "左边", "right": "右边", "": "",
}  # fmt: skip


class Command(NamedTuple):
    """A task: its verb, the cube it names ("" for none), where to ("", a side, or a plate's colour); the
    canonical words, and what people may say for it, by language."""

    id: str
    tokens: str
    phrases: dict[str, tuple[str, ...]]
    verb: str
    colour: str
    place: str


def _make(verb: str, colour: str = "", place: str = "") -> Command:
    name = "_".join(part for part in (verb, colour, "on" if verb == "put" else "", place) if part)
    english = tuple(phrase.format(c=colour, p=place) for phrase in _TRAINING_PHRASES[verb])
    chinese = tuple(phrase.format(c=ZH[colour], p=ZH[place]) for phrase in _CHINESE[verb])
    return Command(name, english[0], {"en": english, "zh": chinese}, verb, colour, place)


@cache
def commands() -> tuple[Command, ...]:
    """Every command of the suite, by verb."""
    return (
        *(_make("pick", c) for c in COLOURS),
        *(_make("push", c, side) for c in COLOURS for side in ("left", "right")),
        *(_make("put", c, plate) for c in COLOURS for plate in COLOURS),
        *(_make("point", c) for c in COLOURS),
        _make("home"),
    )


def command(command_id: str) -> Command:
    """The command of this id. EdgeWamError names the nearest one there is."""
    known = {c.id: c for c in commands()}
    if command_id not in known:
        raise EdgeWamError(
            f"the suite {SUITE} has no command '{command_id}'{nearest(command_id, tuple(known))}"
        )
    return known[command_id]


def training_commands() -> tuple[Command, ...]:
    """The commands that training may see."""
    return tuple(c for c in commands() if (c.verb, c.colour) not in HELD_OUT_PAIRS)


def training_phrases(command: Command) -> tuple[str, ...]:
    """What training may hear for a command, in English."""
    return command.phrases["en"]


def held_out_phrases(command: Command) -> tuple[str, ...]:
    """What training never hears."""
    return tuple(
        phrase.format(c=command.colour, p=command.place) for phrase in _HELD_OUT_PHRASES[command.verb]
    )


def vocabulary() -> tuple[str, ...]:
    """Word of each token id; 0 is padding."""
    words = {word for c in commands() for phrase in training_phrases(c) for word in phrase.split()}
    return ("", *sorted(words))


# --- what stands on the table ---------------------------------------------------------------

_AXIS_X_M = 0.0388  # the shoulder's axis
_REACH_M, _SPREAD_RAD, _SIDE_M = (0.15, 0.26), np.radians(42), 0.165  # the cameras see no further aside
CUBES_APART_M, PLATE_APART_M = 0.06, 0.068
PLATES_APART_M = 0.085
_LANE_M, _LANE_HALF_M = 0.105, 0.048  # what must be free for a push, ahead and beside
_APPROACH_M = 0.055  # and behind, where the gripper comes down


def table_for(wish: Command | None, rng: np.random.Generator, seed: int = -1) -> Scene:
    """A table on which the command makes sense: the named cube, two or three others, a plate or two."""
    while True:
        scene = _scatter(wish, rng, seed)
        if scene is not None:
            return scene


def _scatter(wish: Command | None, rng: np.random.Generator, seed: int) -> Scene | None:
    cubes = rng.permutation(list(COLOURS)).tolist()[: 3 + int(rng.random() < 0.35)]
    if wish is not None and wish.colour and wish.colour not in cubes:
        cubes[0] = wish.colour
    plates: list[str] = []
    if wish is not None and wish.verb == "put":
        plates = [wish.place]
    elif rng.random() < 0.35:
        plates = [str(rng.choice(list(COLOURS)))]
    if plates and rng.random() < 0.3:
        plates.append(str(rng.choice([c for c in COLOURS if c not in plates])))
    count, total = len(cubes), len(cubes) + len(plates)
    apart_m = np.full((total, total), CUBES_APART_M)
    apart_m[count:, :] = apart_m[:, count:] = PLATE_APART_M
    apart_m[count:, count:] = PLATES_APART_M
    xy = np.zeros((0, 2))
    for index in range(total):  # one after another; a place that does not suit is drawn again
        for _ in range(60):
            radius, angle = rng.uniform(*_REACH_M), rng.uniform(-1, 1) * _SPREAD_RAD
            spot = np.array([_AXIS_X_M + radius * np.cos(angle), radius * np.sin(angle)])
            if abs(spot[1]) < _SIDE_M and (np.hypot(*(xy - spot).T) >= apart_m[index, :index]).all():
                xy = np.vstack([xy, spot])
                break
        else:
            return None
    if (
        wish is not None
        and wish.verb == "push"
        and not _lane_is_free(cubes.index(wish.colour), xy, wish.place)
    ):
        return None
    yaw = rng.uniform(-1, 1, count) * np.pi / 4
    poses = np.concatenate([xy[:count], yaw[:, None]], axis=1)
    return Scene(seed, tuple(cubes), poses, rng.uniform(0.020, 0.030, count), tuple(plates), xy[count:])


def _lane_is_free(index: int, xy: np.ndarray, side: str) -> bool:
    """Room for the gripper behind the cube, and for the cube ahead of it, within the arm's reach."""
    sign = side_sign(side)
    ahead_m = (xy[:, 1] - xy[index, 1]) * sign
    beside_m = np.abs(xy[:, 0] - xy[index, 0])
    in_lane = (ahead_m > -_APPROACH_M) & (ahead_m < _LANE_M) & (beside_m < _LANE_HALF_M)
    in_lane[index] = False
    ends_y_m = xy[index, 1] + sign * np.array([-0.040, 0.075])
    radius_m = np.hypot(xy[index, 0] - _AXIS_X_M, ends_y_m)
    reached = (radius_m > 0.14).all() and (radius_m < 0.265).all() and abs(ends_y_m[1]) < 0.18
    return not in_lane.any() and bool(reached)


def side_sign(side: str) -> float:
    """+1 for the robot's left (+y), -1 for its right."""
    return 1.0 if side == "left" else -1.0


def lay(world: World, command_id: str, seed: int) -> Scene:
    """Reset the world by `seed` to a table for the command; the arm is ready (for `home`: somewhere else)."""
    wish, rng = command(command_id), np.random.default_rng(seed)
    world.reset(seed, start_pose(wish, rng))
    return world.set_table(table_for(wish, rng, seed))


def start_pose(wish: Command, rng: np.random.Generator) -> np.ndarray:
    """Where an evaluated episode begins (J,)."""
    if wish.verb != "home":
        return READY_RAD + rng.normal(size=6) * 0.03
    away = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.5, 0.0), rng.uniform(0.2, 0.8), 1.0, 0.0, 0.3])
    return away + rng.normal(size=6) * (0, 0.05, 0.05, 0.1, 0.3, 0.05)


# --- what is asked of a model ---------------------------------------------------------------


class Trial(NamedTuple):
    """One episode of an evaluation. group: seen, held_out_pair or held_out_phrasing."""

    seed: int
    command_id: str
    phrase: str
    group: str


GROUPS = ("seen", "held_out_pair", "held_out_phrasing")
_PATTERN = ("seen", "held_out_pair", "seen", "held_out_phrasing", "seen", "held_out_pair")


def trials(seed: int, episodes: int) -> list[Trial]:
    """The episodes of evaluation `seed`: the verbs in turn, groups in a fixed pattern, commands and phrases
    by the scene's seed. EdgeWamError where they would be those of another one, or trained on."""
    highest = FIRST_TRAINING_SEED // EPISODE_SEEDS - 1
    if not (0 <= seed <= highest and 1 <= episodes <= EPISODE_SEEDS):
        raise EdgeWamError(
            f"an evaluation has a seed of 0 to {highest} and 1 to {EPISODE_SEEDS} episodes, "
            f"found seed {seed} and {episodes} episodes; beyond lie scenes that models are trained on"
        )
    return list(_trials(seed * EPISODE_SEEDS, episodes))


def _trials(first: int, episodes: int) -> Iterator[Trial]:
    for index in range(episodes):
        verb = VERBS[index % len(VERBS)]
        group = _PATTERN[index // len(VERBS) % len(_PATTERN)]
        held_out = [c for c in commands() if c.verb == verb and (c.verb, c.colour) in HELD_OUT_PAIRS]
        if group == "held_out_pair" and not held_out:
            group = "seen"
        rng = np.random.default_rng(first + index)
        choice = held_out if group == "held_out_pair" else [c for c in training_commands() if c.verb == verb]
        wish = choice[int(rng.integers(len(choice)))]
        phrases = held_out_phrases(wish) if group == "held_out_phrasing" else training_phrases(wish)
        yield Trial(first + index, wish.id, str(rng.choice(phrases)), group)
