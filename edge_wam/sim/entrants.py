"""Who is asked what: the policies of an evaluation, its episodes, and what a kept result has to agree in."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from edge_wam import __version__
from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError, ManifestError, nearest
from edge_wam.manifest import Manifest
from edge_wam.sim.tasks import EPISODE_SEEDS, GROUPS, SUITE, VERBS, Trial, command, trials
from edge_wam.think.policy import features_of


class Entrant(NamedTuple):
    """A policy under test: what it is called in tables, its folder, denoising steps (0: its manifest's), and
    the spread of the noise that they begin from (None: its manifest's)."""

    label: str
    folder: str
    steps: int = 0
    noise_std: float | None = None


def entrant(text: str) -> Entrant:
    """LABEL=FOLDER, LABEL=FOLDER@STEPS or LABEL=FOLDER@STEPS,NOISE_STD. EdgeWamError where it is none."""
    label, equals, place = text.partition("=")
    folder, steps, noise_std = place, 0, None
    if found := re.fullmatch(r"(.*)@(\d+)(?:,(\d*\.?\d+))?", place):
        folder, steps = found[1], int(found[2])
        noise_std = None if found[3] is None else float(found[3])
    if not (label.strip() and equals and folder) or not 0 <= (noise_std or 0) <= 1:
        raise EdgeWamError(
            f"--policy: expected LABEL=FOLDER, LABEL=FOLDER@STEPS or LABEL=FOLDER@STEPS,NOISE_STD (0 to 1), "
            f"found '{text}'; try: --policy student@1=models/{SUITE}@1"
        )
    return Entrant(label.strip(), folder, steps, noise_std)


def entrants_of(policies: Sequence[str], model: Path, steps: int) -> tuple[Entrant, ...]:
    """Those named by --policy; else the one model. EdgeWamError where two bear one name."""
    if not policies:
        manifest = manifests.load(model)
        return (Entrant(f"{manifest.name}@{steps or manifest.steps}", str(model), steps),)
    found = tuple(entrant(text) for text in policies)
    labels = [one.label for one in found]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise EdgeWamError(f"--policy: expected each label once, found '{twice}' twice")
    return found


def chosen(seed: int, episodes: int, task: str = "", group: str = "") -> list[Trial]:
    """The first `episodes` trials of evaluation `seed` that are of this task and group ('': any)."""
    for name, value, known in (("--task", task, VERBS), ("--group", group, GROUPS)):
        if value and value not in known:
            raise EdgeWamError(
                f"{name}: expected one of {', '.join(known)}, found '{value}'{nearest(value, known)}"
            )
    if not (task or group):
        return trials(seed, episodes)
    drawn = episodes
    while True:  # more of the same evaluation, until there are enough of the kind that is wanted
        every = [
            trial
            for trial in trials(seed, drawn)
            if task in ("", command(trial.command_id).verb) and group in ("", trial.group)
        ]
        if len(every) >= episodes:
            return every[:episodes]
        if drawn == EPISODE_SEEDS:
            raise EdgeWamError(
                f"evaluation {seed} has {len(every)} episodes of task '{task}' and group '{group}', "
                f"not {episodes}; try: fewer episodes, or another group"
            )
        drawn = min(4 * drawn, EPISODE_SEEDS)


def understood(every: Iterable[Trial], told: Sequence[Manifest]) -> list[Trial]:
    """The trials whose command and words every model knows: a comparison is of the same episodes."""
    return [trial for trial in every if all(_knows(manifest, trial) for manifest in told)]


def _knows(manifest: Manifest, trial: Trial) -> bool:
    if trial.command_id not in [one.id for one in manifest.commands]:
        return False
    try:
        features_of(manifest).tokens(trial.phrase)
    except ManifestError:
        return False
    return True


def key_of(one: Entrant, manifest: Manifest, delay_s: float, quick: bool) -> str:
    """What a kept result has to agree in, to be used again: label, files, steps, noise, delay, version."""
    files = hashlib.sha256(json.dumps(sorted(manifest.files.items())).encode()).hexdigest()
    steps, delay_ms = one.steps or manifest.steps, round(1e3 * delay_s)
    return (
        f"{one.label} {files[:16]} steps={steps} noise={noise_of(one, manifest):g} delay_ms={delay_ms} "
        f"quick={int(quick)} v{__version__}"
    )


def noise_of(one: Entrant, manifest: Manifest) -> float:
    """The spread of the noise that an entrant begins from."""
    return manifest.noise_std if one.noise_std is None else one.noise_std
