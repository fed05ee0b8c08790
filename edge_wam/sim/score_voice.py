"""What came of listening: figures with 95 % intervals (Wilson's; for counts an hour Byar's), a table, a plot.

right     what was meant was done, at once or after one question, and nothing else
wrong     something was done that was not meant: of commands, and of sentences that are none ("obeyed")
late      from the end of the STOP word in the sound until the news of it was out; one control tick and the
          way over the servo bus come on top
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_wam.sim.corpus import BACKGROUND, CONDITIONS, SNRS_DB
from edge_wam.sim.score import wilson

if TYPE_CHECKING:
    from edge_wam.sim.bench_voice import Listened
    from edge_wam.sim.conversation import Outcome

Figures = dict[str, Any]

POOLED = tuple(f"all noises {db:g} dB" for db in SNRS_DB)
TICK_MS = 20.0  # the control loop's: a STOP waits for no more than one
# What is asked for: (condition, figure, at least or at most, limit).
TARGETS = (
    ("clean", "right", ">=", 0.95),
    ("clean", "wrong", "<=", 0.002),
    (POOLED[1], "right", ">=", 0.85),
    (POOLED[1], "wrong", "<=", 0.005),
    ("clean", "paraphrase_right", ">=", 0.85),
    ("clean", "near_miss_obeyed", "<=", 0.0),
    ("clean", "stop_p95_ms", "<=", 250.0),
    (POOLED[1], "stop_p95_ms", "<=", 250.0),
    ("clean", "stop_missed", "<=", 0.02),
    (POOLED[1], "stop_missed", "<=", 0.05),
    ("babble", "stops_an_hour", "<=", 1.0),
)


def share(hits: Iterable[bool]) -> Figures:
    """done, of, rate, and its interval low to high."""
    every = list(hits)
    low, high = wilson(sum(every), len(every))
    rate = round(sum(every) / len(every), 4) if every else None
    return {"done": sum(every), "of": len(every), "rate": rate, "low": round(low, 4), "high": round(high, 4)}


def an_hour(count: int, seconds: float) -> Figures:
    """count, hours, rate an hour, and its interval low to high (Byar's approximation to Poisson's)."""

    def bound(n: float, sign: int) -> float:
        return 0.0 if n <= 0 else float(n * (1 - 1 / (9 * n) + sign * 1.96 / (3 * np.sqrt(n))) ** 3)

    hours = seconds / 3600
    low, high = bound(count, -1), bound(count + 1, 1)
    return {
        "count": count,
        "hours": round(hours, 3),
        "rate": round(count / hours, 2),
        "low": round(low / hours, 2),
        "high": round(high / hours, 2),
    }


def figures(heard: Sequence[Listened]) -> dict[str, Figures]:
    """Everything about every entrant, by its name."""
    found = {}
    for name in sorted({one.entrant for one in heard}):
        mine = [one for one in heard if one.entrant == name]
        outcomes = [outcome for one in mine for outcome in one.outcomes]
        found[name] = {
            "conditions": _conditions(outcomes),
            "voices": {
                voice: _figures([o for o in outcomes if o.voice == voice and o.condition == "clean"])
                for voice in sorted({outcome.voice for outcome in outcomes})
            },
            "background": _background(mine),
            "cpu_s_a_second": round(sum(o.cpu_s for o in mine) / sum(o.seconds for o in mine), 4),
            "audio_hours": round(sum(one.seconds for one in mine) / 3600, 2),
            "failures": _failures(outcomes),
        }
    return found


def _conditions(outcomes: Sequence[Outcome]) -> Figures:
    names = [condition.name for condition in CONDITIONS]
    parts = {name: [o for o in outcomes if o.condition == name] for name in names}
    noisy = {c.name: c.snr_db for c in CONDITIONS if c.snr_db is not None}
    for pooled, db in zip(POOLED, SNRS_DB, strict=True):
        parts[pooled] = [o for o in outcomes if noisy.get(o.condition) == db]
    return {name: _figures(part) for name, part in parts.items() if part}


def _figures(outcomes: Sequence[Outcome]) -> Figures:
    """Of one condition (or voice)."""
    of: Callable[[str], list[Outcome]] = lambda kind: [o for o in outcomes if o.kind == kind]  # noqa: E731
    commands, stops = of("command"), [*of("stop"), *of("stop_in")]
    late_ms = [1e3 * o.stop_late_s for o in stops if o.stop_late_s is not None]
    obey_ms = [1e3 * o.late_s for o in commands if o.late_s is not None]
    return {
        "right": share(o.right for o in commands),
        "asked": sum(o.asked and o.right for o in commands),
        "wrong": share(o.wrong for o in commands),
        "reworded_right": share(o.right for o in of("reworded")),
        "paraphrase_right": share(o.right for o in of("paraphrase")),
        "others_wrong": share(o.wrong for o in [*of("reworded"), *of("paraphrase")]),
        "near_miss_obeyed": share(o.wrong for o in of("near_miss")),
        "obeyed": share(o.wrong for o in [*of("decoy"), *of("near_miss"), *stops]),
        "stopped": share(o.stopped for o in outcomes if not o.kind.startswith("stop")),
        "stop_missed": share(not o.stopped for o in stops),
        "stop_missed_alone": share(not o.stopped for o in of("stop")),
        "stop_p50_ms": _percentile(late_ms, 50),
        "stop_p95_ms": _percentile(late_ms, 95),
        "obey_p50_ms": _percentile(obey_ms, 50),
        "obey_p95_ms": _percentile(obey_ms, 95),
    }


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def _background(heard: Sequence[Listened]) -> Figures:
    found = {}
    for kind in BACKGROUND:
        quiet = [one.quiet for one in heard if one.quiet is not None and one.quiet.kind == kind]
        seconds = sum(one.seconds for one in quiet)
        if seconds:
            found[kind] = {
                "accepts_an_hour": an_hour(sum(len(one.obeyed) for one in quiet), seconds),
                "asks_an_hour": an_hour(sum(one.asks for one in quiet), seconds),
                "stops_an_hour": an_hour(sum(one.stops for one in quiet), seconds),
            }
    return found


def _failures(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """What was done wrong, and every STOP that was missed in quiet: [what, condition, voice, text, heard]."""
    found = [["wrong", o.condition, o.voice, o.text, o.heard] for o in outcomes if o.wrong]
    clean = [o for o in outcomes if o.condition == "clean"]
    missed = [o for o in clean if o.kind.startswith("stop") and not o.stopped]
    return sorted(found + [["no stop", o.condition, o.voice, o.text, o.heard] for o in missed])


def value(one: Figures, condition: str, figure: str) -> float | None:
    """A figure of TARGETS; None where it was not measured."""
    part = one["background" if condition in one["background"] else "conditions"].get(condition, {})
    found = part.get(figure)
    rate: float | None = found["rate"] if isinstance(found, dict) else found
    return rate


# --- for people -----------------------------------------------------------------------------


def table(found: dict[str, Figures]) -> str:
    """Markdown: conditions, backgrounds and voices of every entrant, and the targets."""
    lines = [
        "| | condition | commands | right % | of them asked | wrong % | paraphrases right % "
        "| no command, obeyed % | STOP missed % | alone % | late p50 ms | p95 ms | falsely stopped % "
        "| obeyed after p50 ms |",
        "|" + "---|" * 14,
    ]
    for name, one in found.items():
        for condition, part in one["conditions"].items():
            lines.append(
                f"| {name} | {condition} | {part['right']['of']} | {_rate(part['right'])} | {part['asked']} "
                f"| {_rate(part['wrong'])} | {_rate(part['paraphrase_right'])} | {_rate(part['obeyed'])} "
                f"| {_rate(part['stop_missed'])} | {_rate(part['stop_missed_alone'])} "
                f"| {_ms(part['stop_p50_ms'])} | {_ms(part['stop_p95_ms'])} | {_rate(part['stopped'])} "
                f"| {_ms(part['obey_p50_ms'])} |"
            )
    lines += ["", "| | in quiet, the voice | right % | STOP missed % | late p95 ms |", "|" + "---|" * 5]
    for name, one in found.items():
        for voice, part in one["voices"].items():
            cells = f"{_rate(part['right'])} | {_rate(part['stop_missed'])} | {_ms(part['stop_p95_ms'])}"
            lines.append(f"| {name} | {voice} | {cells} |")
    lines += [
        "",
        "| | nobody commands | hours | false accepts an hour | questions an hour | false stops an hour |",
        "|" + "---|" * 6,
    ]
    for name, one in found.items():
        for kind, part in one["background"].items():
            hours = part["stops_an_hour"]["hours"]
            cells = " | ".join(_hour(part[f"{what}_an_hour"]) for what in ("accepts", "asks", "stops"))
            lines.append(f"| {name} | {kind} | {hours:.2f} | {cells} |")
    lines.append("")
    for name, one in found.items():
        cpu = one["cpu_s_a_second"]
        lines.append(f"{name}: {cpu:.3f} CPU seconds a second of sound, {one['audio_hours']:g} h of it")
        lines += _targets(one)
    lines.append(f"STOP holds the arm one control tick ({TICK_MS:g} ms) later at most.")
    return "\n".join(lines)


def _targets(one: Figures) -> list[str]:
    lines = []
    for condition, figure, sign, limit in TARGETS:
        found = value(one, condition, figure)
        if found is not None:
            met = found >= limit if sign == ">=" else found <= limit
            lines.append(
                f"  {'met   ' if met else 'MISSED'} {condition}: {figure} {found:g} {sign} {limit:g}"
            )
    return lines


def _rate(part: Figures) -> str:
    if part["rate"] is None:
        return "-"
    return f"{100 * part['rate']:.1f} ({100 * part['low']:.1f} to {100 * part['high']:.1f})"


def _hour(part: Figures) -> str:
    return f"{part['rate']:g} ({part['low']:g} to {part['high']:g})"


def _ms(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"{value_ms:.0f}"


def plot(found: dict[str, Figures], path: Path) -> None:
    """Commands, wrong deeds, STOPs missed and their latency by condition, a bar an entrant, with 95 %
    intervals (PNG)."""
    from matplotlib.figure import Figure

    names = [c.name for c in CONDITIONS if any(c.name in one["conditions"] for one in found.values())]
    figure = Figure(figsize=(max(7.0, 0.85 * len(names)), 9.0), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True)
    width = 0.8 / len(found)
    for number, (name, one) in enumerate(found.items()):
        shift = (number - (len(found) - 1) / 2) * width
        parts = [one["conditions"].get(condition) for condition in names]
        there = [(i + shift, part) for i, part in enumerate(parts) if part]
        x = [place for place, _ in there]
        for row, key in ((0, "right"), (1, "wrong"), (2, "stop_missed")):
            shares = [part[key] for _, part in there]
            height = [100 * (s["rate"] or 0.0) for s in shares]
            down = [max(0.0, h - 100 * s["low"]) for h, s in zip(height, shares, strict=True)]
            up = [max(0.0, 100 * s["high"] - h) for h, s in zip(height, shares, strict=True)]
            axes[row].bar(x, height, 0.92 * width, label=name, yerr=[down, up], error_kw={"elinewidth": 0.9})
        timed = [(place, part) for place, part in there if part["stop_p95_ms"] is not None]
        middle = [part["stop_p50_ms"] for _, part in timed]
        high = [part["stop_p95_ms"] - part["stop_p50_ms"] for _, part in timed]
        low = [0.0] * len(timed)
        axes[3].errorbar([p for p, _ in timed], middle, [low, high], fmt="o", ms=4, capsize=3, label=name)
    for one_axes, label in zip(
        axes, ("right, %", "wrong task, %", "STOP missed, %", "STOP late, ms\n(p50, up to p95)"), strict=True
    ):
        one_axes.set_ylabel(label)
        one_axes.grid(axis="y", alpha=0.25)
        one_axes.set_axisbelow(True)
        one_axes.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(0, 104)
    axes[3].axhline(250, color="0.5", lw=0.8, ls="--")
    axes[3].set_xticks(range(len(names)), names, rotation=40, ha="right")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(found), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
