"""`systemctl reload edge-wam` (SIGHUP): settings, tasks and limits are read again, once the arm is at rest.

A thread reads, for the loop must not wait for a disk; the loop takes over what was read, between two ticks,
when nothing moves. Nothing moves for that: an arm outside its new limits stays where it is (act/guard.py).
What is wrong changes nothing; what only a start can change (port, cameras, model ...) is named and left.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edge_wam import manifest as manifests
from edge_wam.act.guard import Limits
from edge_wam.act.health import Health
from edge_wam.broadcast import plan_of
from edge_wam.config import Config, as_tables
from edge_wam.errors import EdgeWamError
from edge_wam.manifest import Manifest
from edge_wam.robot import check, voice_settings
from edge_wam.sense.voice import VoiceSettings
from edge_wam.service.notify import Notifier
from edge_wam.telemetry import Plan

REST_S = 0.5  # how long nothing must have been going on
_OTHERS = ("web", "record")  # programs of their own read these


class Settings(NamedTuple):
    """All that a robot goes by and that may change while it runs. stale: settings that were found changed and
    want a restart."""

    config: Config
    manifest: Manifest
    limits: Limits
    health: Health
    plan: Plan
    hearing: VoiceSettings
    stale: tuple[str, ...] = ()


def settings_of(config: Config, manifest: Manifest, stale: tuple[str, ...] = ()) -> Settings:
    """Read what these name, and check it. EdgeWamError if it is not sound."""
    _, limits, health = check(config, manifest)
    plan = plan_of(config, manifest, limits)
    return Settings(config, manifest, limits, health, plan, voice_settings(config, manifest), stale)


def read_again(known: Settings, load: Callable[[], Config]) -> Settings:
    """Everything anew, as far as it can be used without a restart. EdgeWamError if it is not sound."""
    config, loaded, manifest = known.config, load(), known.manifest
    patience = dataclasses.replace(config.stale, patience=loaded.stale.patience)
    usable = dataclasses.replace(config, voice=loaded.voice, stale=patience)
    model, stale = manifests.load(config.model.folder), _differences(usable, loaded)
    if _same_model(manifest, model):
        manifest = model
    else:
        stale = (*stale, f"the model in {config.model.folder}")
    return settings_of(usable, manifest, stale)


class Reload:
    """Asked by a signal handler, carried out by the loop's beat, a step at a time."""

    def __init__(
        self,
        read: Callable[[], Settings],
        take_over: Callable[[Settings], str],
        tell: Callable[[str, str], object],
        systemd: Notifier,
    ) -> None:
        """take_over says what has changed; tell is given an event's kind (telemetry.KINDS) and its text."""
        self._read, self._take_over, self._tell, self._systemd = read, take_over, tell, systemd
        self._asked = self._said = False
        self._rest_s: float | None = None
        self._thread: threading.Thread | None = None
        self._found: Settings | EdgeWamError | None = None

    def ask(self) -> None:
        """Begin; safe in a signal handler."""
        self._asked = True

    def beat(self, t_s: float, *, resting: bool) -> None:
        """Once a tick. Never waits."""
        if self._thread is not None:
            if not self._thread.is_alive():
                self._thread = None
                self._end(resting=resting)
            return
        if not self._asked:
            self._rest_s = None
            return
        if not resting:
            self._rest_s = None
            if not self._said:
                self._said = True
                self._tell("note", "settings are read again once the arm is at rest: after a STOP, or parked")
            return
        self._rest_s = t_s if self._rest_s is None else self._rest_s
        if t_s - self._rest_s >= REST_S:
            self._asked = self._said = False
            self._systemd.reloading()
            self._thread = threading.Thread(target=self._look, name="reload", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        try:
            self._found = self._read()
        except EdgeWamError as error:
            self._found = error
        except Exception as error:  # the edge of a thread: without a word the reload would never end
            self._found = EdgeWamError(f"{type(error).__name__}: {error}")

    def _end(self, *, resting: bool) -> None:
        found, self._found = self._found, None
        self._systemd.reloaded()
        if isinstance(found, Settings) and not resting:
            self._asked = True  # a command came meanwhile
            return
        if not isinstance(found, Settings):
            self._tell("fault", f"not reloaded: {found}")
            return
        changed = self._take_over(found)
        left = f"; a restart is wanted for {', '.join(found.stale)}" if found.stale else ""
        self._tell("note", f"read again: {changed}{left}")


def _differences(usable: Config, loaded: Config) -> tuple[str, ...]:
    before, after = as_tables(usable), as_tables(loaded)
    return tuple(
        f"{table}.{key}"
        for table in after
        if table not in _OTHERS
        for key in sorted({*before[table], *after[table]})
        if before[table].get(key) != after[table].get(key)
    )


def _same_model(ours: Manifest, theirs: Manifest) -> bool:
    """Whether they differ in their commands at most."""
    plain = [
        field.name
        for field in dataclasses.fields(Manifest)
        if field.name not in ("commands", "normalisation")
    ]
    numbers = zip(
        dataclasses.astuple(ours.normalisation), dataclasses.astuple(theirs.normalisation), strict=True
    )
    return all(getattr(ours, name) == getattr(theirs, name) for name in plain) and all(
        np.array_equal(one, other) for one, other in numbers
    )
