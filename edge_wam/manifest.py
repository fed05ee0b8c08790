"""models/<name>/manifest.toml: the contract between a model and the robot that runs it.

schema = 1
name = "so101-tabletop"

[robot]
joints = ["shoulder_pan", ...]

[chunk]
dt_s = 0.0333333        # between rows
rows = 16               # K
committed_rows_max = 6  # rows the model was trained to be given as already decided
replan_s = 0.2          # between chunks

[[cameras]]             # in the order the model wants them
name = "front"
width = 424
height = 240
fps = 30
crop_px = 240           # the centred square that is used ...
box_px = 2              # ... averaged over boxes of this edge

[words]
vocabulary = ["", "blue", ...]   # index = token id, 0 is padding
length = 8                       # tokens the model takes

[[commands]]
id = "pick_red"
tokens = "pick up the red cube"  # the words the model is given
[commands.phrases]               # what people may say, by language
en = ["pick up the red cube", ...]

[normalisation]
position_mean_rad = [...]   # (J,)
position_std_rad = [...]    # (J,)
action_std_rad = [[...]]    # (K, J)

[inference]
steps = 10         # of denoising
noise_std = 1.0    # of the noise that it begins from: 1 as in training (if not given), 0 without any
precision = "fp32"

[files]      # name -> sha256
[measured]   # what was measured of this model: free numbers
[parents]    # what it was made from: free
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edge_wam import tomlfile
from edge_wam.errors import ManifestError, nearest
from edge_wam.messages import ROWS_MAX
from edge_wam.think.features import Normalisation
from edge_wam.tomlfile import Scalar, Table, Value

SCHEMA = 1
FILE = "manifest.toml"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


class CameraSize(Protocol):
    """What a camera has to say for itself: sense.camera.CameraSpec is one, CameraView is another."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def fps(self) -> int: ...


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera as the model wants it, and what it takes of each frame (think/features.shrink)."""

    name: str
    width: int
    height: int
    fps: int
    crop_px: int
    box_px: int


@dataclass(frozen=True, slots=True)
class Command:
    """A task: the words the model is given, and the phrases people may say, by language."""

    id: str
    tokens: str
    phrases: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model's promises. normalisation: position_* (J,), action_std_rad (K, J)."""

    name: str
    joints: tuple[str, ...]
    dt_s: float
    rows: int
    committed_rows_max: int
    replan_s: float
    cameras: tuple[CameraView, ...]
    vocabulary: tuple[str, ...]
    words: int
    commands: tuple[Command, ...]
    normalisation: Normalisation
    steps: int
    noise_std: float
    precision: str
    files: Mapping[str, str]
    measured: Mapping[str, Scalar]
    parents: Mapping[str, Scalar]

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that every command can be said in."""
        return tuple(sorted(set.intersection(*(set(command.phrases) for command in self.commands))))

    def phrases(self, language: str) -> tuple[str, ...]:
        """Everything that can be said in `language`. ManifestError if it is not spoken here."""
        if language not in self.languages:
            raise ManifestError(
                f"model '{self.name}' has no phrases for language '{language}'"
                f"{nearest(language, self.languages)}; it has: {', '.join(self.languages)}"
            )
        return tuple(phrase for command in self.commands for phrase in command.phrases[language])

    def command_of(self, text: str, language: str | None = None) -> Command | None:
        """The command somebody names by a phrase (of `language`, or of any), its words or its id.

        Case and spaces do not matter; anything else does: "do not pick up the red cube" is no command.
        """
        wanted = _key(text)
        for command in self.commands:
            said = [command.tokens, command.id]
            for spoken, phrases in command.phrases.items():
                said += phrases if language in (None, spoken) else ()
            if wanted in map(_key, said):
                return command
        return None


def load(folder: Path) -> Manifest:
    """Read and check the manifest in `folder`. ManifestError says what is wrong with which key."""
    if not folder.is_dir():
        raise ManifestError(f"model: there is no folder {folder}; try: --model with a folder of models/")
    top = tomlfile.read(folder / FILE, ManifestError, "model")
    schema = top.integer("schema", low=0, high=1_000_000)
    if schema != SCHEMA:
        raise top.wrong("schema", f"{SCHEMA} (this version of edge-wam)", schema)
    robot, chunk, words = top.table("robot"), top.table("chunk"), top.table("words")
    inference = top.table("inference")
    joints, rows = robot.texts("joints"), chunk.integer("rows", low=1, high=ROWS_MAX)
    vocabulary, length = _vocabulary(words), words.integer("length", low=1, high=64)
    manifest = Manifest(
        name=top.text("name"),
        joints=joints,
        dt_s=chunk.number("dt_s", low=0.001, high=0.5),
        rows=rows,
        committed_rows_max=chunk.integer("committed_rows_max", low=0, high=rows - 1),
        replan_s=chunk.number("replan_s", low=0.01, high=2.0),
        cameras=_cameras(top.tables("cameras")),
        vocabulary=vocabulary,
        words=length,
        commands=_commands(top.tables("commands"), vocabulary, length),
        normalisation=_normalisation(top.table("normalisation"), rows, len(joints)),
        steps=inference.integer("steps", low=1, high=1000),
        noise_std=inference.number("noise_std", 1.0, low=0.0, high=1.0),
        precision=inference.text("precision", of=PRECISIONS),
        files=_files(top.table("files", optional=True)),
        measured=top.table("measured", optional=True).scalars(),
        parents=top.table("parents", optional=True).scalars(),
    )
    for table in (robot, chunk, words, inference, top):
        table.done()
    return manifest


def write(folder: Path, manifest: Manifest) -> Path:
    """Write `manifest` into `folder`, whole or not at all; returns the file. What is written is read
    back first, so that a manifest that `load` would refuse is never left behind."""
    text = tomlfile.dumps(
        _content(manifest), "Written by the training pipeline; read by edge_wam/manifest.py."
    )
    draft = folder / ".manifest-draft"
    draft.mkdir(parents=True, exist_ok=True)
    (draft / FILE).write_text(text, encoding="utf-8")
    try:
        load(draft)
        return (draft / FILE).replace(folder / FILE)
    finally:
        (draft / FILE).unlink(missing_ok=True)
        draft.rmdir()


def hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 by name of files in `folder`, for Manifest.files."""
    return {name: _sha256(folder / name) for name in names}


def verify_files(folder: Path, manifest: Manifest) -> None:
    """ManifestError unless every file is there and is the one the manifest was written for."""
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ManifestError(f"model '{manifest.name}': {path} is missing; try: git pull, or git lfs pull")
        if (found := _sha256(path)) != expected:
            raise ManifestError(
                f"model '{manifest.name}': {path} is not the file of this manifest: "
                f"expected sha256 {expected[:12]}..., found {found[:12]}..."
            )


def disagreements(manifest: Manifest, joints: Sequence[str], cameras: Iterable[CameraSize]) -> list[str]:
    """What the model wants otherwise than the robot has it, each with both values; [] if all is well."""
    found = []
    if tuple(joints) != manifest.joints:
        found.append(f"joints: the model has {', '.join(manifest.joints)}, the robot {', '.join(joints)}")
    present = {camera.name: camera for camera in cameras}
    for wanted in manifest.cameras:
        camera = present.get(wanted.name)
        if camera is None:
            found.append(
                f"camera '{wanted.name}': the model wants it, the robot has {', '.join(present) or 'none'}"
            )
            continue
        sizes = [f"{c.width}x{c.height} at {c.fps} Hz" for c in (wanted, camera)]
        if sizes[0] != sizes[1]:
            found.append(f"camera '{wanted.name}': the model wants {sizes[0]}, the robot has {sizes[1]}")
    return found


def refuse_disagreements(manifest: Manifest, joints: Sequence[str], cameras: Iterable[CameraSize]) -> None:
    """ManifestError, naming every disagreement, unless there is none."""
    if found := disagreements(manifest, joints, cameras):
        raise ManifestError(f"model '{manifest.name}' does not fit this robot: {'; '.join(found)}")


def _vocabulary(words: Table) -> tuple[str, ...]:
    vocabulary = words.texts("vocabulary")
    if len(set(vocabulary)) != len(vocabulary) or not vocabulary or vocabulary[0] != "":
        raise words.wrong("vocabulary", "'' (the padding) and then different words", vocabulary)
    return vocabulary


def _cameras(tables: Sequence[Table]) -> tuple[CameraView, ...]:
    cameras: list[CameraView] = []
    for table in tables:
        name = table.text("name")
        if name in [camera.name for camera in cameras]:
            raise table.wrong("name", "each camera once", name)
        width, height = (table.integer(key, low=8, high=8192) for key in ("width", "height"))
        crop_px = table.integer("crop_px", low=1, high=min(width, height))
        box_px = table.integer("box_px", low=1, high=crop_px)
        if crop_px % box_px:
            raise table.wrong("crop_px", f"a multiple of box_px = {box_px}", crop_px)
        cameras.append(
            CameraView(name, width, height, table.integer("fps", low=1, high=300), crop_px, box_px)
        )
        table.done()
    return tuple(cameras)


def _commands(tables: Sequence[Table], vocabulary: Sequence[str], length: int) -> tuple[Command, ...]:
    commands: list[Command] = []
    taken: dict[str, str] = {}  # what can be said -> the command it names
    for table in tables:
        identity, tokens = table.text("id"), table.text("tokens")
        if identity in [command.id for command in commands]:
            raise table.wrong("id", "each command once", identity)
        words = tokens.split()
        unknown = [word for word in words if word not in vocabulary]
        if unknown:
            raise table.wrong("tokens", f"words of the vocabulary, not '{unknown[0]}'", tokens)
        if not 1 <= len(words) <= length:
            raise table.wrong("tokens", f"1 to {length} words", tokens)
        spoken = table.table("phrases")
        phrases = {language: spoken.texts(language) for language in spoken.names()}
        for said in [tokens, *(phrase for group in phrases.values() for phrase in group)]:
            if not _key(said) or taken.setdefault(_key(said), identity) != identity:
                raise table.wrong("phrases", "phrases that name one command each", said)
        if not phrases or not all(phrases.values()):
            raise table.wrong("phrases", "at least one phrase a language", phrases)
        commands.append(Command(identity, tokens, phrases))
        table.done()
    return tuple(commands)


def _normalisation(table: Table, rows: int, joints: int) -> Normalisation:
    made = Normalisation(
        np.array(table.numbers("position_mean_rad", joints)),
        np.array(table.numbers("position_std_rad", joints)),
        np.array(table.rows("action_std_rad", joints)),
    )
    if made.action_std_rad.shape != (rows, joints):
        raise table.wrong("action_std_rad", f"{rows} rows of {joints}", made.action_std_rad.shape)
    for key in ("position_std_rad", "action_std_rad"):
        if not (getattr(made, key) > 0).all():
            raise table.wrong(key, "positive numbers", getattr(made, key).min())
    table.done()
    return made


def _files(table: Table) -> dict[str, str]:
    files = {}
    for name in table.names():
        value = table.text(name)
        if Path(name).name != name:
            raise table.wrong(name, "a file in the model's own folder", name)
        if len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise table.wrong(name, "a sha256 in 64 small hexadecimal digits", value)
        files[name] = value
    return files


def _content(manifest: Manifest) -> dict[str, Value]:
    norm = manifest.normalisation
    return {
        "schema": SCHEMA,
        "name": manifest.name,
        "robot": {"joints": manifest.joints},
        "chunk": {key: getattr(manifest, key) for key in ("dt_s", "rows", "committed_rows_max", "replan_s")},
        "cameras": [{key: getattr(view, key) for key in CameraView.__slots__} for view in manifest.cameras],
        "words": {"vocabulary": manifest.vocabulary, "length": manifest.words},
        "commands": [
            {"id": command.id, "tokens": command.tokens, "phrases": command.phrases}
            for command in manifest.commands
        ],
        "normalisation": {
            "position_mean_rad": norm.position_mean_rad.tolist(),
            "position_std_rad": norm.position_std_rad.tolist(),
            "action_std_rad": norm.action_std_rad.tolist(),
        },
        "inference": {key: getattr(manifest, key) for key in ("steps", "noise_std", "precision")},
        "files": manifest.files,
        "measured": manifest.measured,
        "parents": manifest.parents,
    }


def _key(text: str) -> str:
    return "".join(text.lower().split())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
