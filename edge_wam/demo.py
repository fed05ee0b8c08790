"""`edge-wam demo`: a spoken sentence moves the simulated arm, end to end, and leaves a film of it.

Speech goes into the recogniser, the recognised command to the World Action Model, its chunks through plan
and guard as bytes to the servos. Nothing is told to anybody past those seams; only the judge looks at
the simulator's state.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam import film
from edge_wam.act.bus import BusCounts
from edge_wam.clock import MonotonicClock
from edge_wam.config import SIMULATED, Config
from edge_wam.errors import EdgeWamError, ManifestError, VoiceError, nearest
from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name, remove_leftovers
from edge_wam.manifest import Command, Manifest
from edge_wam.messages import Heard
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.pilot import Pilot
from edge_wam.process import on_interrupt
from edge_wam.realtime import realtime
from edge_wam.robot import Sound, check, house, meaning, simulated
from edge_wam.script import Ending, Script, outcome_text, table_text
from edge_wam.sense.speaker import speak
from edge_wam.sense.wav import read_wav, write_wav
from edge_wam.teller import Teller
from edge_wam.ticklog import Figures as LoopFigures
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS

Figures = dict[str, float]  # the short table, by name


class Wanted(NamedTuple):
    """What the person at the keyboard asked for. say is a text to speak, wav a recording; '' for neither.
    keep is a folder for what the film is made from; None throws it away."""

    command: str
    say: str
    wav: str
    episodes: int
    seed: int
    out: Path
    headless: bool
    keep: Path | None = None


def asked(wanted: Wanted) -> str:
    """What the judge is to judge: the command that was given, or what is to be said, or the usual one."""
    if wanted.wav and not wanted.command:
        raise EdgeWamError(
            "--wav: what does it say? try: --command with the same words, so that it can be judged"
        )
    return wanted.command or wanted.say or "pick up the red cube"


def command_wanted(manifest: Manifest, text: str, language: str) -> Command:
    """The command a person names. ManifestError lists those there are."""
    command = manifest.command_of(text, None)
    if command is None:
        known = [c.tokens for c in manifest.commands]
        examples = {words.split()[0]: words for words in reversed(known)}  # one for each verb
        raise ManifestError(
            f"unknown command '{text}'{nearest(text, known)}; model '{manifest.name}' knows {len(known)}, "
            f"such as: {', '.join(reversed(examples.values()))}"
        )
    manifest.phrases(language)
    return command


def sentence(wanted: Wanted, command: Command, language: str, folder: Path) -> tuple[Path, str]:
    """The WAV that is played into the recogniser, and what it is in words for people."""
    sim = simulated("microphone")
    if wanted.wav:
        path = Path(wanted.wav)
        read_wav(path)  # refused now, before anything has started
        return path, f"playing {path.name}"
    said = folder / "said.wav"
    if wanted.say:
        write_wav(said, speak(wanted.say, language))
        return said, f'espeak-ng says "{wanted.say}"'
    phrase = command.phrases[language][0]
    try:
        return sim.sample(language, command.id), f'a recorded voice says "{phrase}"'
    except VoiceError as unrecorded:
        try:
            write_wav(said, speak(phrase, language))
        except VoiceError as mute:
            raise VoiceError(f"{unrecorded}; and espeak-ng cannot stand in: {mute}") from mute
        return said, f'espeak-ng says "{phrase}" (there is no recording of it)'


class Show(NamedTuple):
    """What one demo is made of: the command, the sound that says it and what that is in words, and where
    its traces go."""

    command: Command
    wav: Path
    spoken: str
    folder: Path


def demo(config: Config, manifest: Manifest, wanted: Wanted) -> int:
    """Run it. 0 if the command was carried out every time, 1 if not."""
    if config.robot.port != SIMULATED:
        raise EdgeWamError(
            f"the demo drives the simulated arm; robot.port is '{config.robot.port}'. Try: edge-wam run"
        )
    if not wanted.out.resolve().parent.is_dir():
        raise EdgeWamError(f"--out: there is no folder {wanted.out.resolve().parent} to leave the film in")
    voice = simulated("microphone").for_samples(config.voice)
    config = replace(config, voice=replace(voice, listen="always"))  # nobody is there to hold a button
    command = command_wanted(manifest, asked(wanted), config.voice.language)
    simulated("tasks").command(command.id)  # a table can be laid for it, and it can be judged
    check(config, manifest)
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix="edge-wam-") as temporary:
        folder = wanted.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        show = Show(command, *sentence(wanted, command, config.voice.language, folder), folder)
        endings, figures = _play(config, manifest, wanted, show)
        return _report(wanted, endings, figures, folder)


def _play(config: Config, manifest: Manifest, wanted: Wanted, show: Show) -> tuple[list[Ending], Figures]:
    """Start everybody, run the loop to the end of the script, write down what happened."""
    cue, tell = simulated("cue"), Teller()
    heard: list[dict[str, object]] = []

    def note(news: Heard, meant: str | None) -> None:
        said = news.said or news.words.text
        heard.append({"t_s": news.words.t_s, "text": said, "command": meant})
        tell(f'heard: "{said}"' + ("" if meant else " (no command)"))

    def give_cue() -> None:
        record = np.zeros((), cue.CUE)
        record["wav"] = str(show.wav.resolve()).encode()
        cues.put(record)
        tell(show.spoken)

    with contextlib.ExitStack() as stack:
        stack.callback(tell.close)
        cues = stack.enter_context(Mailbox.create(private_name("cue"), cue.CUE))
        sound = Sound(functools.partial(cue.CuedMicrophone, private_name("cue")))
        tell(f"model {manifest.name}: loading, and checking against its golden batch")
        robot = stack.enter_context(
            house(config, manifest, seed=wanted.seed, record_to=str(show.folder), sound=sound, say=tell)
        )
        assert robot.stage is not None
        given, pilot, log = (
            Orders(),
            Pilot(robot.limits, config.stale.patience, robot.health),
            TickLog(len(JOINTS)),
        )
        voice = VoiceOrders(robot.heard, meaning(manifest), given, note)
        script = Script(show.command, wanted.episodes, wanted.seed, robot.stage, voice, pilot, give_cue, tell)
        with on_interrupt(lambda: given.give(Order(Verb.QUIT))), realtime(say=tell):
            rate_hz = config.robot.control_hz
            run(robot.arm, robot.thinker, script, pilot, MonotonicClock(), log, rate_hz)
        figures = figures_of(log.figures(), robot.arm.bus.counts)
    _write(show, heard, pilot, log, script.endings, figures)
    return script.endings, figures


def _write(
    show: Show,
    heard: list[dict[str, object]],
    pilot: Pilot,
    log: TickLog,
    endings: list[Ending],
    figures: Figures,
) -> None:
    """ticks.npz and run.json, as film/recording.py reads them; sight.npz is the policy process's."""
    history = log.history()
    kept = {name: getattr(history, name) for name in ("t_s", "sent_rad", "measured_rad", "wish_rad")}
    np.savez(show.folder / "ticks.npz", **kept)
    last = endings[-1] if endings else None
    events = [(event.t_s, event.text) for event in pilot.events]
    events += [(ending.t_s, f"judge: {outcome_text(ending)}") for ending in endings]
    story = {
        "command": show.command.tokens,
        "heard": heard,
        "events": [{"t_s": t_s, "text": text} for t_s, text in sorted(events)],
        "outcome": outcome_text(last) if last else "stopped before the end",
        "success": bool(last and last.done),
        "done_s": last.t_s if last and last.done else None,
        "figures": figures,
        "joints": list(JOINTS),
    }
    (show.folder / "run.json").write_text(json.dumps(story))


def figures_of(figures: LoopFigures, counts: BusCounts) -> Figures:
    """The short table's numbers."""
    return {
        "ticks": figures.ticks,
        "late_p50_ms": round(figures.late_p50_ms, 2),
        "late_p99_ms": round(figures.late_p99_ms, 2),
        "misses": figures.misses,
        "bus_p50_ms": round(figures.bus_p50_ms, 2),
        "bus_p99_ms": round(figures.bus_p99_ms, 2),
        "chunks": figures.chunks,
        "infer_p50_ms": round(figures.infer_p50_ms, 1),
        "infer_p99_ms": round(figures.infer_p99_ms, 1),
        "exposure_to_servo_p50_ms": round(figures.exposure_to_servo_p50_ms, 1),
        "exposure_to_servo_p99_ms": round(figures.exposure_to_servo_p99_ms, 1),
        "bus_errors": sum(counts.missing) + counts.garbled,
    }


def table(figures: Figures) -> str:
    """The short table, for people."""
    rows = (
        ("control ticks", f"{figures['ticks']:.0f}, {figures['misses']:.0f} missed"),
        ("tick lateness", _pair(figures, "late")),
        ("asking the servos", _pair(figures, "bus")),
        ("inference", _pair(figures, "infer") + f"  ({figures['chunks']:.0f} chunks followed)"),
        ("exposure to servo", _pair(figures, "exposure_to_servo")),
        ("bus errors", f"{figures['bus_errors']:.0f}"),
    )
    return "\n".join(f"  {name:<20}{value}" for name, value in rows)


def _pair(figures: Figures, name: str) -> str:
    return f"p50 {figures[f'{name}_p50_ms']:.1f} ms, p99 {figures[f'{name}_p99_ms']:.1f} ms"


def _report(wanted: Wanted, endings: list[Ending], figures: Figures, folder: Path) -> int:
    print(f"\n{table(figures)}")
    done = sum(ending.done for ending in endings)
    if (folder / "sight.npz").exists():
        print(f"  {film.imagination_error(folder)}")
        path = film.make(folder, wanted.out)
        if wanted.keep is not None:
            film.poster(folder, folder / "poster.png")
        print(f"\nfilm: {path}")
        if not wanted.headless and shutil.which("xdg-open") and _screen():
            subprocess.Popen(["xdg-open", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for ending in endings:
        print(f"{ending.command}: {outcome_text(ending)}{table_text(ending.truth)}")
    if len(endings) < wanted.episodes:
        print(f"stopped after {len(endings)} of {wanted.episodes} episodes")
    print(f"{done} of {wanted.episodes} done")
    return 0 if done == wanted.episodes else 1


def _screen() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
