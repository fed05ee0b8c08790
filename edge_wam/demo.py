"""`edge-wam demo`: a spoken sentence moves the simulated arm, end to end, and leaves a film of it.

Speech goes into the recogniser, the recognised command to the World Action Model, its chunks through plan
and guard as bytes to the servos. Nothing is told to anybody past those seams; only the judge looks at
the simulator's state.
"""

from __future__ import annotations

import enum
import functools
import json
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam import film
from edge_wam.clock import MonotonicClock
from edge_wam.config import SIMULATED, Config
from edge_wam.errors import EdgeWamError, ManifestError, VoiceError, nearest
from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name, remove_leftovers
from edge_wam.manifest import Command, Manifest
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.pilot import Mode, Pilot
from edge_wam.process import on_interrupt
from edge_wam.robot import House, Sound, Stage, Truth, check, house, simulated
from edge_wam.sense.wav import read_wav, write_wav
from edge_wam.ticklog import Figures, TickLog
from edge_wam.types import JOINTS, Words

SETTLE_S, HEAR_S, SHOW_S = 0.6, 12.0, 1.2


class Wanted(NamedTuple):
    """What the person at the keyboard asked for. say is a text to speak, wav a recording; '' for neither."""

    command: str
    say: str
    wav: str
    episodes: int
    seed: int
    out: Path
    headless: bool


class Act(enum.Enum):
    """Where in an episode we are."""

    SETTING = "setting"
    SPEAKING = "speaking"
    MOVING = "moving"
    SHOWING = "showing"
    PARKING = "parking"
    DONE = "done"


class Ending(NamedTuple):
    """How one episode ended: what was asked, what the judge saw, how long it took; truth None: never heard."""

    command: str
    colours: tuple[str, ...]
    truth: Truth | None
    seconds: float


class Teller:
    """Lines for people, printed by a thread of its own: a slow terminal must not hold up the loop."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._start_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        self._lines.put(f"[{time.monotonic() - self._start_s:6.2f} s] {line}")

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            print(line, flush=True)


class Script:
    """The demo's OrderSource: sets the stage, gives the cue, listens as the robot does, and watches the judge."""

    def __init__(
        self, wanted: Wanted, command: Command, stage: Stage, voice: VoiceOrders, given: Orders, pilot: Pilot,
        cue: Callable[[], None], tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._wanted, self._command, self._stage, self._voice = wanted, command, stage, voice
        self._given, self._pilot, self._cue, self._tell = given, pilot, cue, tell
        self._act, self._since_s, self._episode = Act.PARKING, time.monotonic(), -1
        self._told = 0
        self.endings: list[Ending] = []

    def take(self) -> list[Order]:
        """Once a tick."""
        orders = self._voice.take()
        self._follow(time.monotonic(), orders)
        while self._told < len(self._pilot.events) and self._pilot.events:
            self._tell(self._pilot.events[self._told].text)
            self._told += 1
        return orders

    def _enter(self, act: Act, now_s: float) -> None:
        self._act, self._since_s = act, now_s

    def _follow(self, now_s: float, orders: list[Order]) -> None:
        in_act_s = now_s - self._since_s
        if any(order.verb is Verb.QUIT for order in orders):
            self._enter(Act.DONE, now_s)
        elif self._act is Act.PARKING and (self._episode < 0 or self._pilot.mode is Mode.PARKED):
            self._next(now_s, orders)
        elif self._act is Act.SETTING and in_act_s > SETTLE_S:
            self._cue()
            self._enter(Act.SPEAKING, now_s)
        elif self._act is Act.SPEAKING:
            if any(order.verb is Verb.DO for order in orders):
                self._enter(Act.MOVING, now_s)
            elif in_act_s > HEAR_S:
                self._tell("nothing was heard that is a command")
                self._end(None, now_s)
        elif self._act is Act.MOVING:
            truth = self._stage.verdict()
            if truth is not None and truth.over:
                self._end(truth, now_s)
        elif self._act is Act.SHOWING and in_act_s > SHOW_S:
            orders.append(Order(Verb.PARK))
            self._enter(Act.PARKING, now_s)

    def _next(self, now_s: float, orders: list[Order]) -> None:
        self._episode += 1
        if self._episode >= self._wanted.episodes:
            orders.append(Order(Verb.QUIT))
            self._enter(Act.DONE, now_s)
            return
        self._stage.scatter(self._wanted.seed + self._episode, self._command.id)
        self._enter(Act.SETTING, now_s)

    def _end(self, truth: Truth | None, now_s: float) -> None:
        colours = () if truth is None else truth.colours
        self.endings.append(Ending(self._command.tokens, colours, truth, now_s - self._since_s))
        self._tell(f"judge: {outcome_text(self.endings[-1])}")
        self._enter(Act.SHOWING, now_s)


def outcome_text(ending: Ending) -> str:
    """One line about how an episode ended."""
    truth = ending.truth
    if truth is None:
        return f'"{ending.command}" was not heard; nothing moved'
    on_table = f"(on the table: {', '.join(ending.colours)})"
    if truth.success:
        return f"the {truth.lifted} cube is lifted after {ending.seconds:.1f} s {on_table}"
    if truth.wrong_object:
        return f"the wrong cube was lifted {on_table}"
    return f"not lifted within {ending.seconds:.0f} s {on_table}"


def command_wanted(manifest: Manifest, text: str, language: str) -> Command:
    """The command a person names. ManifestError lists those there are."""
    command = manifest.command_of(text, None)
    if command is None:
        known = [c.tokens for c in manifest.commands]
        raise ManifestError(
            f"unknown command '{text}'{nearest(text, known)}; model '{manifest.name}' knows: {', '.join(known)}"
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
        write_wav(said, sim.speak(wanted.say, language))
        return said, f'espeak-ng says "{wanted.say}"'
    phrase = command.phrases[language][0]
    try:
        return sim.sample(language, command.id), f'a recorded voice says "{phrase}"'
    except VoiceError:
        write_wav(said, sim.speak(phrase, language))
        return said, f'espeak-ng says "{phrase}"'


def demo(config: Config, manifest: Manifest, wanted: Wanted) -> int:
    """Run it. 0 if every named cube was lifted, 1 if not."""
    if config.robot.port != SIMULATED:
        raise EdgeWamError(f"the demo drives the simulated arm; robot.port is '{config.robot.port}'. Try: edge-wam run")
    language = config.voice.language
    command = command_wanted(manifest, wanted.command, language)
    if not wanted.out.resolve().parent.is_dir():
        raise EdgeWamError(f"--out: there is no folder {wanted.out.resolve().parent} to leave the film in")
    check(config, manifest)
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix="edge-wam-") as temporary:
        folder = Path(temporary)
        wav, spoken = sentence(wanted, command, language, folder)
        cue = simulated("cue")
        tell = Teller()
        try:
            with Mailbox.create(private_name("cue"), cue.CUE) as cues:
                sound = Sound(functools.partial(cue.CuedMicrophone, private_name("cue")))
                tell(f"model {manifest.name}: loading and checking against its golden batch")
                with house(config, manifest, seed=wanted.seed, record_to=str(folder), sound=sound, say=tell) as robot:
                    endings, figures = _play(config, manifest, wanted, command, robot, cues, wav, spoken, tell, folder)
        finally:
            tell.close()
        return _report(wanted, endings, figures, folder)


def _play(
    config: Config, manifest: Manifest, wanted: Wanted, command: Command, robot: House, cues: Mailbox, wav: Path,
    spoken: str, tell: Callable[[str], None], folder: Path,
) -> tuple[list[Ending], dict[str, float]]:  # fmt: skip
    assert robot.stage is not None
    given, pilot, log = Orders(), Pilot(robot.limits, config.stale.patience), TickLog(len(JOINTS))
    heard: list[dict[str, object]] = []

    def command_of(words: Words) -> str | None:
        found = manifest.command_of(words.text, words.language)
        return None if found is None else found.tokens

    def note(words: Words, meant: str | None) -> None:
        heard.append({"t_s": words.t_s, "text": words.text, "command": meant})
        tell(f'heard: "{words.text}"' + ("" if meant else " (no command)"))

    def give_cue() -> None:
        record = np.zeros((), cues.dtype)
        record["sequence"], record["wav"] = len(heard) + 1, str(wav.resolve()).encode()
        cues.put(record)
        tell(spoken)

    voice = VoiceOrders(robot.heard, command_of, given, note)
    script = Script(wanted, command, robot.stage, voice, given, pilot, give_cue, tell)
    with on_interrupt(lambda: given.give(Order(Verb.QUIT))):
        run(robot.arm, robot.thinker, script, pilot, robot.limits, MonotonicClock(), log, config.robot.control_hz)
    if not robot.policy.alive:
        tell(f"the policy process ended: {robot.policy.reason}")
    history, counts = log.history(), robot.arm.bus.counts
    figures = figures_of(log.figures(), sum(counts.missing) + counts.garbled, int(history.skipped.clip(0).sum()))
    np.savez(
        folder / "ticks.npz",
        t_s=history.t_s, sent_rad=history.sent_rad, measured_rad=history.measured_rad, wish_rad=history.wish_rad,
    )  # fmt: skip
    last = script.endings[-1] if script.endings else None
    story = {
        "command": command.tokens,
        "heard": heard,
        "events": [{"t_s": event.t_s, "text": event.text} for event in pilot.events],
        "outcome": outcome_text(last) if last else "stopped before the end",
        "success": bool(last and last.truth and last.truth.success),
        "figures": figures,
        "joints": list(JOINTS),
    }
    (folder / "run.json").write_text(json.dumps(story))
    return script.endings, figures


def figures_of(figures: Figures, bus_errors: int, skipped: int) -> dict[str, float]:
    """The short table's numbers."""
    return {
        "ticks": figures.ticks,
        "tick lateness p50 ms": round(figures.late_p50_ms, 2),
        "tick lateness p99 ms": round(figures.late_p99_ms, 2),
        "ticks missed": skipped,
        "chunks followed": figures.chunks,
        "inference p50 ms": round(figures.infer_p50_ms, 1),
        "inference p99 ms": round(figures.infer_p99_ms, 1),
        "exposure to servo p50 ms": round(figures.exposure_to_servo_p50_ms, 1),
        "exposure to servo p99 ms": round(figures.exposure_to_servo_p99_ms, 1),
        "bus errors": bus_errors,
    }


def _report(wanted: Wanted, endings: list[Ending], figures: dict[str, float], folder: Path) -> int:
    print()
    for name, value in figures.items():
        print(f"  {name:<28}{value:>10g}")
    lifted = sum(bool(ending.truth and ending.truth.success) for ending in endings)
    if (folder / "sight.npz").exists():
        print(f"  imagined: {film.imagination_error(folder)}")
        path = film.make(folder, wanted.out)
        print(f"\nfilm: {path}")
        if not wanted.headless and shutil.which("xdg-open") and _screen():
            subprocess.Popen(["xdg-open", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for ending in endings:
        print(outcome_text(ending))
    print(f"{lifted} of {wanted.episodes} lifted")
    return 0 if lifted == wanted.episodes else 1


def _screen() -> bool:
    import os

    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def with_language(config: Config, language: str) -> Config:
    """The settings with another language of the voice."""
    return replace(config, voice=replace(config.voice, language=language))
