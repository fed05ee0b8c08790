"""What came of an evaluation: figures with honest intervals, tables for people, JSON, a plot and a strip.

Everything here works on `Result`s alone; how they came about is evaluate.py's business. A result is one
line of JSON in a file, so an interrupted evaluation goes on and several machines can share a folder.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.sim.tasks import GROUPS, VERBS
from edge_wam.types import ImageArray

Figures = dict[str, Any]


class Imagined(NamedTuple):
    """Squared errors summed over the moving values of one horizon (unit scale): of the imagined frames, of
    "nothing changes"; how many values moved; how many frames were compared."""

    ahead_s: float
    imagined: float
    still: float
    moving: int
    frames: int


class Result(NamedTuple):
    """One policy's episode. key names policy and conditions (evaluate.key_of).

    seconds are simulated; closest_m is how near the fingertip came to the named cube (None: none named);
    action_mrad is the mean distance to an expert's rows (None: not measured in this episode). guarded of the
    ticks had a wish that the guard changed, by what a servo can feel (act/guard.Limited).
    """

    key: str
    seed: int
    command_id: str
    phrase: str
    group: str
    verb: str
    success: bool
    wrong_object: bool
    seconds: float
    closest_m: float | None
    infer_ms: tuple[float, ...]
    imagined: tuple[Imagined, ...] = ()
    action_mrad: float | None = None
    ticks: int = 0
    guarded: int = 0


def line(result: Result) -> str:
    """A result as one line of JSON."""
    plain = result._asdict() | {"imagined": [part._asdict() for part in result.imagined]}
    return json.dumps(plain, allow_nan=False)


def parse(text: str) -> Result | None:
    """The inverse of `line`; None for a line that was cut short or is of another kind."""
    try:
        fields = json.loads(text)
        fields["imagined"] = tuple(Imagined(**part) for part in fields["imagined"])
        fields["infer_ms"] = tuple(fields["infer_ms"])
        return Result(**fields)
    except (ValueError, TypeError, KeyError):
        return None


# --- figures --------------------------------------------------------------------------------


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success rate (Wilson's score interval)."""
    if not trials:
        return 0.0, 1.0
    z, rate = 1.96, successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def rate(results: Iterable[Result]) -> Figures:
    """done, of, rate, and the interval low to high."""
    won = [result.success for result in results]
    low, high = wilson(sum(won), len(won))
    share = sum(won) / len(won) if won else None
    return {
        "done": sum(won),
        "of": len(won),
        "rate": None if share is None else round(share, 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def figures(results: Sequence[Result]) -> Figures:
    """Everything about one policy. Tasks and groups that were not tried are left out."""
    done = [result for result in results if result.success]
    infer_ms = [ms for result in results for ms in result.infer_ms]
    near_m = [result.closest_m for result in results if result.closest_m is not None]
    action_mrad = [result.action_mrad for result in results if result.action_mrad is not None]
    return {
        "success": rate(results),
        "tasks": _split(results, VERBS, lambda r: r.verb),
        "groups": _split(results, GROUPS, lambda r: r.group),
        "tasks_seen": _split([r for r in results if r.group == "seen"], VERBS, lambda r: r.verb),
        "wrong_object": sum(result.wrong_object for result in results),
        "wrong_object_rate": round(sum(r.wrong_object for r in results) / max(1, len(results)), 4),
        "seconds_p50": _rounded(np.median([r.seconds for r in done]), 2) if done else None,
        "closest_mm_p50": _rounded(1e3 * np.median(near_m), 1) if near_m else None,
        "action_mrad": _rounded(np.mean(action_mrad), 2) if action_mrad else None,
        "action_episodes": len(action_mrad),
        "guarded": _share(sum(r.guarded for r in results), sum(r.ticks for r in results)),
        "imagined": imagination(results),
        "infer_ms_p50": _rounded(np.median(infer_ms), 2) if infer_ms else None,
        "infer_ms_p99": _rounded(np.percentile(infer_ms, 99), 2) if infer_ms else None,
        "missed": [result.seed for result in results if not result.success],
    }


def imagination(results: Iterable[Result]) -> list[Figures]:
    """For each horizon: mean squared error on moving pixels, that of "nothing changes", and how many times
    better (above 1) imagining is."""
    horizons: dict[float, list[Imagined]] = {}
    for result in results:
        for part in result.imagined:
            horizons.setdefault(part.ahead_s, []).append(part)
    found = []
    for ahead_s, parts in sorted(horizons.items()):
        moving, error = sum(p.moving for p in parts), sum(p.imagined for p in parts)
        still = sum(p.still for p in parts)
        found.append(
            {
                "ahead_s": ahead_s,
                "error": round(error / moving, 4) if moving else None,
                "still": round(still / moving, 4) if moving else None,
                "times_better": round(still / error, 3) if error > 0 else None,
                "frames": sum(p.frames for p in parts),
            }
        )
    return found


def _split(results: Sequence[Result], names: Sequence[str], of: Callable[[Result], str]) -> Figures:
    parts = {name: [result for result in results if of(result) == name] for name in names}
    return {name: rate(part) for name, part in parts.items() if part}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None


def _rounded(value: Any, digits: int) -> float:
    return round(float(value), digits)


# --- for people -----------------------------------------------------------------------------

HEADS = {"held_out_pair": "new pair", "held_out_phrasing": "new words"}
_MOST_MISSED = 12


def table(policies: Mapping[str, Figures]) -> str:
    """Success by task and by group, then everything else; a row a policy, the first one the yardstick."""
    width = max(12, *(len(label) for label in policies)) + 2
    first = next(iter(policies.values()))
    columns = [("tasks", name) for name in first["tasks"]] + [("groups", name) for name in first["groups"]]
    lines = [
        f"{'success, %':<{width}}{'all':>6}{'95 % interval':>16}"
        + "".join(f"{HEADS.get(name, name):>11}" for _, name in columns),
        f"{'episodes':<{width}}{first['success']['of']:>6}{'':>16}"
        + "".join(f"{first[part][name]['of']:>11}" for part, name in columns),
    ]
    for label, one in policies.items():
        every = one["success"]
        cells = "".join(f"{_percent(one[part].get(name)):>11}" for part, name in columns)
        interval = f"{100 * every['low']:.1f} to {100 * every['high']:.1f}"
        lines.append(f"{label:<{width}}{_percent(every):>6}{interval:>16}{cells}")
    ahead = [part["ahead_s"] for part in first["imagined"]]
    lines += [
        "",
        f"{'':<{width}}{'of first':>9}{'seconds':>9}{'wrong':>7}{'action mrad':>13}{'guard %':>9}"
        + "".join(f"{f'imagined +{s:.2f} s':>19}" for s in ahead)
        + f"{'infer ms':>10}{'p99':>8}",
    ]
    for label, one in policies.items():
        lines.append(
            f"{label:<{width}}{_of_first(one, first):>9}{_cell(one['seconds_p50'], '.2f'):>9}"
            f"{one['wrong_object']:>7}{_cell(one['action_mrad'], '.1f'):>13}"
            f"{_cell(None if one['guarded'] is None else 100 * one['guarded'], '.2f'):>9}"
            + "".join(f"{_times(one, s):>19}" for s in ahead)
            + f"{_cell(one['infer_ms_p50'], '.1f'):>10}{_cell(one['infer_ms_p99'], '.1f'):>8}"
        )
    return "\n".join(lines + _missed(policies))


def _percent(part: Figures | None) -> str:
    return "-" if not part or part["rate"] is None else f"{100 * part['rate']:.1f}"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _of_first(one: Figures, first: Figures) -> str:
    base = first["success"]["rate"]
    return f"{100 * one['success']['rate'] / base:.1f} %" if base else "-"


def _times(one: Figures, ahead_s: float) -> str:
    found = next((part for part in one["imagined"] if part["ahead_s"] == ahead_s), None)
    return "-" if found is None or found["times_better"] is None else f"{found['times_better']:.2f} x"


def _missed(policies: Mapping[str, Figures]) -> list[str]:
    lines = [""]
    for label, one in policies.items():
        seeds = one["missed"]
        more = f" and {len(seeds) - _MOST_MISSED} more" if len(seeds) > _MOST_MISSED else ""
        shown = ", ".join(map(str, seeds[:_MOST_MISSED])) or "none"
        lines.append(f"scenes missed by {label}: {shown}{more}")
    return lines


# --- pictures -------------------------------------------------------------------------------

INTERVAL_GREY = "0.25"


def plot(policies: Mapping[str, Figures], path: Path) -> None:
    """Success by task and by group, a bar a policy, with 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(policies.values()))
    columns = [("success", "all")]
    columns += [("tasks", name) for name in first["tasks"]] + [("groups", name) for name in first["groups"]]
    figure = Figure((max(7.0, 1.1 * len(columns)), 4.0), 110, layout="constrained")
    FigureCanvasAgg(figure)
    axes, width = figure.add_subplot(), 0.8 / len(policies)
    for number, (label, one) in enumerate(policies.items()):
        parts = [one["success"] if part == "success" else one[part].get(name) for part, name in columns]
        there = [(i, part) for i, part in enumerate(parts) if part and part["rate"] is not None]
        x = [i + (number - (len(policies) - 1) / 2) * width for i, _ in there]
        height = [100 * part["rate"] for _, part in there]
        # A rate of 0 or 1 lies on its interval's edge but for rounding, and bars know no negative error.
        down = [max(0.0, 100 * (part["rate"] - part["low"])) for _, part in there]
        up = [max(0.0, 100 * (part["high"] - part["rate"])) for _, part in there]
        bars = {"ecolor": INTERVAL_GREY, "elinewidth": 1.0}
        axes.bar(x, height, 0.92 * width, label=label, yerr=[down, up], error_kw=bars)
    axes.set_xticks(range(len(columns)), [HEADS.get(name, name) for _, name in columns])
    axes.set_ylim(0, 104)
    axes.set_ylabel("success, %")
    axes.set_title(f"{first['success']['of']} episodes a policy, 95 % intervals", fontsize=10)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=min(4, len(policies)), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


class Moment(NamedTuple):
    """present, imagined and real frames of one thought, each (C, P, P, 3) uint8, and what they belong to."""

    label: str
    command: str
    present: ImageArray
    imagined: ImageArray
    real: ImageArray


def strip(moments: Sequence[Moment], ahead_s: float, path: Path, zoom: int = 3) -> None:
    """A row a moment; for each camera present | imagined | real. Nothing is written without a moment."""
    from PIL import Image, ImageDraw, ImageFont

    if not moments:
        return
    cameras, side = moments[0].present.shape[0], moments[0].present.shape[1] * zoom
    left_px, top_px, gap_px, font = 190, 24, 3, ImageFont.load_default(13)
    columns = [name for _ in range(cameras) for name in ("present", f"imagined +{ahead_s:.2f} s", "real")]
    size = (left_px + len(columns) * (side + gap_px), top_px + len(moments) * (side + gap_px))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(columns):
        pen.text((left_px + column * (side + gap_px) + 2, 4), name, "black", font)
    for row, moment in enumerate(moments):
        y = top_px + row * (side + gap_px)
        words = "\n".join([moment.label, *textwrap.wrap(moment.command, 24)])
        pen.text((6, y + side // 3), words, "black", font)
        frames = (moment.present, moment.imagined, moment.real)
        tiles = [frame[camera] for camera in range(cameras) for frame in frames]
        for column, tile in enumerate(tiles):
            large = Image.fromarray(tile).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(large, (left_px + column * (side + gap_px), y))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
