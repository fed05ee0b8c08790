"""Engines that were built on this very machine, in a state directory: found by what they were built from.

    <state>/engines/<model>-<key>/engine.toml, context.blob, act.blob, dream.blob

The key is a sha256 over the files of the model and of its variants, and over the software and the processor.
A folder appears whole or not at all: it is written beside, its files are flushed to the disk, and then it is
renamed. What its engine.toml does not vouch for by sha256 is not loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edge_wam import manifest as manifests
from edge_wam import tomlfile
from edge_wam.errors import EngineError, ManifestError
from edge_wam.manifest import Manifest, hashes
from edge_wam.think.backend import HINTS, RUNTIMES, Settings
from edge_wam.think.machine import machine
from edge_wam.tomlfile import Scalar

SCHEMA = 1
FILE = "engine.toml"
VARIANT = "float_sha256"  # in a manifest's parents: whose weights it was made from


class Key(NamedTuple):
    """What an engine was built from, by name, and its sha256."""

    parts: Mapping[str, str]
    sha256: str

    def difference(self, other: Mapping[str, str]) -> str:
        """The first thing that is otherwise in `other`, with both values; '' if nothing is."""
        for name in sorted({*self.parts, *other}):
            here, there = self.parts.get(name, "nothing"), other.get(name, "nothing")
            if here != there:
                return f"{name} is {here[:60]}, the engine was built for {there[:60]}"
        return ""


class Choice(NamedTuple):
    """The engine that was chosen: the model's folder (of a variant, perhaps), how it is run, its files and
    what was measured."""

    model: str
    settings: Settings
    files: Mapping[str, str]
    measured: Mapping[str, Scalar]


def state() -> Path:
    """Where this machine's engines are: $EDGE_WAM_STATE, what systemd gives the service, or the user's."""
    for name in ("EDGE_WAM_STATE", "STATE_DIRECTORY"):
        if value := os.environ.get(name):
            return Path(value)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edge-wam"


def variants(folder: Path) -> dict[str, Manifest]:
    """The model in `folder` and those beside it that were made from its weights, by folder name."""
    ours = manifests.load(folder)
    found = {folder.name: ours}
    for path in sorted(folder.resolve().parent.glob(f"*/{manifests.FILE}")):
        if path.parent.name == folder.name:
            continue
        with contextlib.suppress(ManifestError):  # somebody else's model, not ours to complain of
            other = manifests.load(path.parent)
            if other.parents.get(VARIANT) == ours.files.get("weights.safetensors", "?"):
                found[path.parent.name] = other
    return found


def key_of(every: Mapping[str, Manifest]) -> Key:
    """The key of a model and its variants on this machine."""
    parts = dict(machine())
    for name, manifest in every.items():
        parts |= {f"{name}/{file}": sha256 for file, sha256 in manifest.files.items()}
        steps = f"{manifest.steps} steps, {manifest.normalisation.action_std_rad.tolist()}"
        parts[f"{name}/inference"] = hashlib.sha256(steps.encode()).hexdigest()
    text = json.dumps(sorted(parts.items()))
    return Key(parts, hashlib.sha256(text.encode()).hexdigest())


def place(root: Path, model: str, key: Key) -> Path:
    """Where the engine of this key is, or would be."""
    return root / "engines" / f"{model}-{key.sha256[:16]}"


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` at the end; on any failure nothing is left.

    EngineError where the disk is full or the folder not ours.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        yield beside
        for path in beside.iterdir():
            _flush(path)
        _flush(beside)
        old = target.with_name(f".{target.name}.{os.getpid()}.old.draft")
        if target.exists():  # for an instant there is none, never half of one
            target.rename(old)
        beside.rename(target)
        _flush(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise EngineError(
            f"the engine cannot be written to {target.parent}: {error.strerror or error}; try: free some "
            f"space, or EDGE_WAM_STATE=<a folder that may be written>"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sweep(root: Path, keep: Path) -> list[str]:
    """Remove what killed builds left, and older engines of the same model; returns the names."""
    gone = []
    model = keep.name.rsplit("-", 1)[0]
    for path in (root / "engines").glob("*"):
        stale = path.name.endswith(".draft") and not _alive(path.name)
        older = path.name.rsplit("-", 1)[0] == model and path.name != keep.name
        if stale or older:
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path.name)
    return gone


def write(folder: Path, key: Key, choice: Choice) -> None:
    """engine.toml, in a draft."""
    text = tomlfile.dumps(
        {
            "schema": SCHEMA,
            "model": choice.model,
            "arithmetic": choice.settings.arithmetic,
            "threads": choice.settings.threads,
            "runtime": choice.settings.runtime,
            "files": dict(choice.files),
            "key": dict(key.parts),
            "measured": dict(choice.measured),
        },
        "Written by `edge-wam compile` for this very machine; it is refused anywhere else.",
    )
    (folder / FILE).write_text(text, encoding="utf-8")


def read(folder: Path, key: Key) -> Choice:
    """The engine in `folder`. EngineError if it is of another key, or any file is not what was written."""
    top = tomlfile.read(folder / FILE, EngineError, "engine")
    schema = top.integer("schema", low=0, high=1_000_000)
    if schema != SCHEMA:
        raise top.wrong("schema", f"{SCHEMA} (this version of edge-wam)", schema)
    built_for = {name: str(value) for name, value in top.table("key").scalars().items()}
    if other := key.difference(built_for):
        raise EngineError(f"the engine in {folder} is another machine's or another model's: {other}")
    files = {name: str(value) for name, value in top.table("files").scalars().items()}
    settings = Settings(
        top.text("arithmetic", of=tuple(HINTS)),
        top.integer("threads", low=1, high=1024),
        top.text("runtime", of=RUNTIMES),
    )
    choice = Choice(top.text("model"), settings, files, top.table("measured").scalars())
    top.done()
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise EngineError(f"{folder / name} is missing")
        if (found := hashes(folder, [name])[name]) != expected:
            raise EngineError(
                f"{folder / name} is not what was compiled: expected sha256 {expected[:12]}..., "
                f"found {found[:12]}..."
            )
    return choice


def _flush(path: Path) -> None:
    """To the disk: a rename may reach it before what was renamed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(name: str) -> bool:
    """Whether the process that made this draft still runs."""
    number = name.removesuffix(".draft").removesuffix(".old").rsplit(".", 1)[-1]
    return number.isdigit() and Path(f"/proc/{number}").exists()
