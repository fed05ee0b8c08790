"""Settings: one TOML file over defaults that run the simulated robot. Every key is checked.

    [robot]
    name = "main"                           # one a robot on this machine; what the page asks for
    calibration = "calibration/so101-sim"   # folder with arm.json, limits.toml, camera.json
    port = "sim"                            # or a serial port, as /dev/ttyACM0
    servos = "feetech"                      # STS3215; or "dynamixel": XL330, XL430
    baud_bps = 1000000                      # Dynamixel up to 4000000
    control_hz = 50
    when_back = "hold"                      # the cable came out and is in again: hold, park, or go on

    [model]
    folder = "models/so101-tabletop"
    replan_s = 0.0                          # seconds between chunks; 0: as the model's manifest says
    steps = 0                               # denoising steps; 0: as the manifest says
    threads = 0                             # of the CPU engine; 0: as `edge-wam compile` measured, or 1

    [cameras]                               # the model's camera name = serial number or .db3 recording
    front = "sim-front"
    wrist = "sim-wrist"

    [voice]
    engine = "auto"                         # auto: vosk if a model is found, else whisper if installed (only
                                            # for commands, English), else pocketsphinx
    language = "en"
    vosk_model = ""                         # folder; "": the usual places
    whisper_model = ""                      # folder; "": the package that carries it
    device = ""                             # microphone: (part of) its name, "1234:abcd", number; "": usual
    confirm = "unsure"                      # ask back where something was left open; or always, never
    wake = ""                               # a word that a command must follow, as "robot"; "": none;
                                            # "okay nabu", ...: by an ear of its own (edge-wam[wake])
    listen = "always"                       # or push: commands only while a button is held; STOP always
    button = ""                             # "terminal" (space), an input device, "gpiochip0:105"; "": page
    button_key = 0                          # of an input device, as evtest numbers it; 0: any
    answers = "off"                         # off, sounds, or speech (by espeak-ng)
    keep_audio_mb = 0.0                     # sound of what was heard, kept in heard/ of the state folder
    stop_spotter = true                     # an ear for STOP alone beside the recogniser (models/stop)
    missing = "refuse"                      # or allow: without a voice it starts, says so, and tries again

    [stale]                                 # how long each source may be silent
    park_after_s = 2.0                      # no plan: hold at once, park after this
    joints_hold_s = 0.1                     # a servo does not answer: hold
    joints_stop_s = 1.0                     # ... let go
    frame_s = 0.5                           # a camera has no newer frame: no new chunk

    [web]                                   # the page (edge-wam web)
    bind = "127.0.0.1"                      # or an address that others reach; "0.0.0.0": all of them
    port = 8790
    name = ""                               # another name it is reached by, as a proxy's
    token_file = "~/.config/edge-wam/web-token"   # mode 0600; made if it is missing
    may_command = false                     # whether it may give tasks; STOP it always may

    [record]                                # edge-wam record
    folder = ""                             # "": recordings/ in the state folder
    max_gb = 8.0                            # all recordings together: beyond that the oldest goes
    minutes = 5.0                           # a file
    images = "jpeg"                         # or png, lossless: replays to the same rows, five times the size

Relative folders are relative to the file they stand in, the defaults to the project's folder. Several files,
the environment and flags: layers.py.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_wam import tomlfile
from edge_wam.errors import ConfigError, VoiceError
from edge_wam.pilot import Patience
from edge_wam.sense.button import LISTEN, source_of
from edge_wam.sense.dialogue import CONFIRM
from edge_wam.sense.engines import ENGINES
from edge_wam.sense.speaker import ANSWERS
from edge_wam.telemetry import INSTANCE
from edge_wam.tomlfile import Scalar, Table

SIMULATED = "sim"
_FASTEST_BPS = {"feetech": 1_000_000, "dynamixel": 4_000_000}
SERVOS = tuple(_FASTEST_BPS)  # act/families.py
WHEN_BACK = ("hold", "park", "go on")
IMAGES = ("jpeg", "png")  # of a recording
_CAMERAS = (("front", "sim-front"), ("wrist", "sim-wrist"))


@dataclass(frozen=True, slots=True)
class RobotConfig:
    """The arm: its name, its calibration folder, its port (SIMULATED or a device), its servos (one of
    SERVOS), the rate of the loop, and what it does (one of WHEN_BACK) when its cable is back."""

    name: str
    calibration: Path
    port: str
    servos: str
    baud_bps: int
    control_hz: float
    when_back: str


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model's folder; replan_s and steps are 0 where the manifest's values hold, threads where what was
    measured does."""

    folder: Path
    replan_s: float
    steps: int
    threads: int


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """Where the model's camera `name` comes from: a serial number, or a recording's path."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """The recogniser, its language, and where it hears; when it asks back, the word that calls it, and how it
    answers; whether it may be missing; how much sound is kept; whether a button has to be held, and which;
    whether STOP has an ear of its own. '' leaves a choice to the machine."""

    engine: str
    language: str
    vosk_model: str
    device: str
    confirm: str
    wake: str
    answers: str
    missing: str
    keep_audio_mb: float
    listen: str
    button: str
    button_key: int
    whisper_model: str
    stop_spotter: bool


@dataclass(frozen=True, slots=True)
class StaleConfig:
    """One limit a source; see pilot.Patience. frame_s is the oldest frame a chunk may come from."""

    patience: Patience
    frame_s: float


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Where recordings are kept ('': in the machine's state folder), how much of them, and how."""

    folder: str
    max_gb: float
    minutes: float
    images: str


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where the page listens, another name it has ('': none), its token, and whether it may give tasks."""

    bind: str
    port: int
    name: str
    token_file: Path
    may_command: bool


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. `source` is the file they came from, or 'the defaults'."""

    source: str
    robot: RobotConfig
    model: ModelConfig
    cameras: tuple[CameraConfig, ...]
    voice: VoiceConfig
    stale: StaleConfig
    web: WebConfig
    record: RecordConfig


def home() -> Path:
    """The folder with calibration/ and models/: $EDGE_WAM_HOME, or the checkout this file is in."""
    named = os.environ.get("EDGE_WAM_HOME")
    return Path(named) if named else Path(__file__).resolve().parents[1]


def load(path: Path | None = None) -> Config:
    """Settings from `path` over the defaults. ConfigError names the key, what was expected and found."""
    if path is None:
        return check(Table({}, "the defaults", ConfigError), home())
    return check(tomlfile.read(path, ConfigError, "settings"), path.resolve().parent)


def as_tables(config: Config) -> dict[str, dict[str, Scalar]]:
    """The settings as their file would have them, every key."""
    robot, model, voice, stale = config.robot, config.model, config.voice, config.stale
    return {
        "robot": {
            "name": robot.name,
            "calibration": str(robot.calibration),
            "port": robot.port,
            "servos": robot.servos,
            "baud_bps": robot.baud_bps,
            "control_hz": robot.control_hz,
            "when_back": robot.when_back,
        },
        "model": {
            "folder": str(model.folder),
            "replan_s": model.replan_s,
            "steps": model.steps,
            "threads": model.threads,
        },
        "cameras": {camera.name: camera.source for camera in config.cameras},
        "voice": {name: getattr(voice, name) for name in VoiceConfig.__slots__},
        "stale": {**stale.patience._asdict(), "frame_s": stale.frame_s},
        "web": {name: getattr(config.web, name) for name in WebConfig.__slots__}
        | {"token_file": str(config.web.token_file)},
        "record": {name: getattr(config.record, name) for name in RecordConfig.__slots__},
    }


def check(top: Table, base: Path) -> Config:
    """Settings from a table; relative folders are relative to `base`. ConfigError as in `load`."""
    config = Config(
        top.where,
        _robot(top.table("robot", optional=True), base),
        _model(top.table("model", optional=True), base),
        _cameras(top.table("cameras", optional=True), base),
        _voice(top.table("voice", optional=True)),
        _stale(top.table("stale", optional=True)),
        _web(top.table("web", optional=True), base),
        _record(top.table("record", optional=True), base),
    )
    top.done()
    return config


def _robot(table: Table, base: Path) -> RobotConfig:
    servos = table.text("servos", SERVOS[0], of=SERVOS)
    name = table.text("name", INSTANCE)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
        raise table.wrong("name", "up to 32 letters, digits, '-' and '_'", name)
    made = RobotConfig(
        name,
        _folder(table, "calibration", "calibration/so101-sim", base),
        table.text("port", SIMULATED),
        servos,
        table.integer("baud_bps", 1_000_000, low=38_400, high=_FASTEST_BPS[servos]),
        table.number("control_hz", 50.0, low=10.0, high=200.0),
        table.text("when_back", WHEN_BACK[0], of=WHEN_BACK),
    )
    table.done()
    return made


def _model(table: Table, base: Path) -> ModelConfig:
    made = ModelConfig(
        _folder(table, "folder", "models/so101-tabletop", base),
        table.number("replan_s", 0.0, low=0.0, high=2.0),
        table.integer("steps", 0, low=0, high=64),
        table.integer("threads", 0, low=0, high=64),
    )
    table.done()
    return made


def _cameras(table: Table, base: Path) -> tuple[CameraConfig, ...]:
    """Which names there must be is the model's to say (manifest.py); any is taken here."""
    names = table.names()
    if not names:
        return tuple(CameraConfig(*camera) for camera in _CAMERAS)
    found = []
    for name in names:
        source = table.text(name)
        if not source:
            raise table.wrong(name, "a serial number or a .db3 file", source)
        found.append(CameraConfig(name, str(base / source) if source.endswith(".db3") else source))
    return tuple(found)


def _voice(table: Table) -> VoiceConfig:
    made = VoiceConfig(
        table.text("engine", "auto", of=ENGINES),
        table.text("language", "en"),
        table.text("vosk_model", ""),
        table.text("device", ""),
        table.text("confirm", "unsure", of=CONFIRM),
        table.text("wake", ""),
        table.text("answers", "off", of=ANSWERS),
        table.text("missing", "refuse", of=("refuse", "allow")),
        table.number("keep_audio_mb", 0.0, low=0.0, high=100_000.0),
        table.text("listen", LISTEN[0], of=LISTEN),
        table.text("button", ""),
        table.integer("button_key", 0, low=0, high=767),
        table.text("whisper_model", ""),
        table.yes("stop_spotter", True),
    )
    try:
        source_of(made.button)
    except VoiceError:
        expected = "'', 'terminal', an input device (/dev/input/by-id/...) or a GPIO line (gpiochip0:105)"
        raise table.wrong("button", expected, made.button) from None
    table.done()
    return made


def _stale(table: Table) -> StaleConfig:
    usual = Patience()
    hold_s = table.number("joints_hold_s", usual.joints_hold_s, low=0.02, high=10.0)
    made = StaleConfig(
        Patience(
            table.number("park_after_s", usual.park_after_s, low=0.1, high=600.0),
            hold_s,
            table.number("joints_stop_s", max(usual.joints_stop_s, hold_s), low=hold_s, high=60.0),
        ),
        table.number("frame_s", 0.5, low=0.05, high=10.0),
    )
    table.done()
    return made


def _record(table: Table, base: Path) -> RecordConfig:
    folder = table.text("folder", "")
    made = RecordConfig(
        str(base / Path(folder).expanduser()) if folder else "",
        table.number("max_gb", 8.0, low=0.01, high=100_000.0),
        table.number("minutes", 5.0, low=0.1, high=60.0),
        table.text("images", IMAGES[0], of=IMAGES),
    )
    table.done()
    return made


def _web(table: Table, base: Path) -> WebConfig:
    bind = table.text("bind", "127.0.0.1")
    try:
        ipaddress.ip_address(bind)
    except ValueError:
        raise table.wrong("bind", "an IP address", bind) from None
    made = WebConfig(
        bind,
        table.integer("port", 8790, low=1024, high=65535),
        table.text("name", ""),
        base / Path(table.text("token_file", "~/.config/edge-wam/web-token")).expanduser(),
        table.yes("may_command", False),
    )
    table.done()
    return made


def _folder(table: Table, key: str, usual: str, base: Path) -> Path:
    if key not in table.names():
        table.text(key, usual)
        return home() / usual
    return base / Path(table.text(key)).expanduser()
