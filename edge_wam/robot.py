"""Where the seams are joined: a real robot, or a simulated one. Everything else is the same code.

    with house(config, manifest, ...) as robot:    # real() or simulated(), by config.robot.port
        run(robot.arm, robot.thinker, orders, ...)

`simulated` is the only door to edge_wam.sim in the whole runtime.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from edge_wam.act.arm import Arm, Calibration
from edge_wam.act.bus import open_port
from edge_wam.act.families import FAMILIES
from edge_wam.act.guard import Limits
from edge_wam.act.health import Health
from edge_wam.act.limits import load_guards
from edge_wam.act.plug import Plug
from edge_wam.config import SIMULATED, Config, home
from edge_wam.errors import ConfigError, EdgeWamError
from edge_wam.mailbox import Mailbox, private_name, public_name
from edge_wam.manifest import Manifest, refuse_disagreements
from edge_wam.messages import CHUNK, HEARD, STATE, HeardReader
from edge_wam.process import Child, Main
from edge_wam.remote import RemoteThinker
from edge_wam.sense.camera import CameraCalibration, CameraThread, load_calibration, newest_frames
from edge_wam.sense.realsense import Device, RealSenseCamera, Recording, Source
from edge_wam.sense.sound import SoundSource
from edge_wam.sense.spotter import STOP_MODEL
from edge_wam.sense.voice import VoiceSettings, voice_main
from edge_wam.supervise import Keeper, Kept
from edge_wam.think.store import state
from edge_wam.think.worker import PolicySettings, policy_main
from edge_wam.types import JOINTS, Frame, Words

POLICY_READY_S, ROBOT_READY_S, VOICE_READY_S = 120.0, 120.0, 60.0


def simulated(module: str) -> ModuleType:
    """edge_wam.sim.<module>: the one door to the simulation."""
    import importlib

    import edge_wam.sim

    return importlib.import_module(f"{edge_wam.sim.__name__}.{module}")


# --- sight: what the policy process opens ---------------------------------------------------


class Sight(NamedTuple):
    """The model's cameras, in its order: plain values that cross into the policy process.

    sources are serial numbers or recordings; frames is '' or the prefix of a simulated robot's mailboxes.
    """

    calibration: str
    names: tuple[str, ...]
    sources: tuple[str, ...]
    frames: str
    stale_s: float


class Eyes:
    """A FrameSource (think/worker.py) over one CameraThread a camera."""

    def __init__(
        self, threads: Sequence[CameraThread], feeder: contextlib.AbstractContextManager[object]
    ) -> None:
        self._threads, self._feeder = threads, feeder

    def start(self) -> None:
        """Open every camera. CameraError for the first that cannot be opened."""
        self._feeder.__enter__()
        for thread in self._threads:
            thread.start()

    def newest(self, after_s: float, timeout_s: float) -> tuple[Frame, ...] | None:
        return newest_frames(self._threads, after_s, timeout_s)

    def stop(self) -> None:
        for thread in self._threads:
            thread.stop()
        self._feeder.__exit__(None, None, None)


def open_cameras(sight: object) -> Eyes:
    """In the policy process: the cameras of a Sight, through librealsense whatever they are."""
    assert isinstance(sight, Sight)
    known = {camera.spec.name: camera for camera in load_calibration(Path(sight.calibration) / "camera.json")}
    cameras = [known[name] for name in sight.names]
    if sight.frames:
        source_of, feeder = _simulated_cameras(sight.frames, cameras)
    else:
        source_of, feeder = _device_or_recording(sight), contextlib.nullcontext()
    opened = [
        RealSenseCamera(camera.spec, source_of(camera.spec.name), delay_s=camera.delay_s or 0.0)
        for camera in cameras
    ]
    return Eyes([CameraThread(camera, stale_s=sight.stale_s) for camera in opened], feeder)


def _device_or_recording(sight: Sight) -> Callable[[str], Source]:
    named = dict(zip(sight.names, sight.sources, strict=True))

    def source(name: str) -> Source:
        return Recording(Path(named[name])) if named[name].endswith(".db3") else Device(named[name])

    return source


def _simulated_cameras(
    prefix: str, cameras: Sequence[CameraCalibration]
) -> tuple[Callable[[str], Source], contextlib.AbstractContextManager[object]]:
    sim = simulated("camera")
    devices = sim.SoftwareCameras(cameras)
    feeder = sim.FrameFeeder(
        sim.FrameInlet(prefix, [camera.spec for camera in cameras], timeout_s=10.0), devices
    )

    @contextlib.contextmanager
    def feeding() -> Iterator[None]:
        feeder.start()
        try:
            yield
        finally:
            feeder.stop()

    return devices.source, feeding()


# --- the house ------------------------------------------------------------------------------


class Sound(NamedTuple):
    """What the voice process listens to: opened there. None in House: no voice."""

    open_source: Callable[[], SoundSource]


class Staged(NamedTuple):
    """What stands in for hardware beside a robot.port that somebody else serves (sim/process_rig.py): the
    sound, the prefix of the mailboxes that frames come in, the policy process, and where it records."""

    sound: Sound
    frames: str
    policy: Main = policy_main
    record_to: str = ""


@dataclass
class House:
    """A robot that is ready to run: its arm, how to get it back once its cable came out, policy and ears,
    and the simulation's stage if there is one. lacking: why there is no voice, where there need not be."""

    arm: Arm
    reconnect: Callable[[], None]
    limits: Limits
    health: Health
    thinker: RemoteThinker
    heard: HeardReader
    kept: tuple[Kept, ...]
    stage: Stage | None
    lacking: str


class Stage:
    """The demo's end of the simulated robot: a new table, and the judge's verdict."""

    def __init__(self, wishes: Mailbox, truths: Mailbox, wish_type: object) -> None:
        import numpy as np

        self._wishes, self._truths = wishes, truths
        self._record = np.zeros((), wish_type)  # type: ignore[call-overload]

    @property
    def port(self) -> str:
        letter = self._truths.get()
        return "" if letter is None else bytes(letter.record["port"]).decode()

    def lay(self, seed: int, command_id: str) -> None:
        """A table on which the command makes sense ('': any), laid by the seed. Nothing is judged yet."""
        self._record["episode"] += 1
        self._record["seed"], self._record["command"] = seed, command_id.encode()
        self._record["judging"] = False
        self._wishes.put(self._record)

    def judge(self) -> None:
        """The command was heard: its time limit runs, and what is moved from now on counts."""
        self._record["judging"] = True
        self._wishes.put(self._record)

    def verdict(self) -> Truth | None:
        """The judge's word on what was asked last; None until the robot has taken the wish."""
        letter = self._truths.get()
        asked = self._record
        if letter is None or any(letter.record[name] != asked[name] for name in ("episode", "judging")):
            return None
        record = letter.record
        return Truth(
            bool(record["success"]),
            bool(record["wrong_object"]),
            bool(record["over"]),
            _words(record["cubes"]),
            _words(record["plates"]),
        )


class Truth(NamedTuple):
    """What the simulator knows: the judge's verdict (sim/judge.py), and the colours on the table."""

    success: bool
    wrong_object: bool
    over: bool
    cubes: tuple[str, ...]
    plates: tuple[str, ...]


def _words(colours: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(bytes(colour).decode() for colour in colours if colour)


def sight_of(config: Config, manifest: Manifest, frames: str) -> Sight:
    """The model's cameras as the settings name them. ConfigError if one is not named."""
    named = {camera.name: camera.source for camera in config.cameras}
    for view in manifest.cameras:
        if view.name not in named:
            raise ConfigError(
                f"{config.source}: model '{manifest.name}' wants a camera '{view.name}', "
                f"cameras names {', '.join(named)}"
            )
    names = tuple(view.name for view in manifest.cameras)
    folder = str(config.robot.calibration)
    return Sight(folder, names, tuple(named[name] for name in names), frames, config.stale.frame_s)


def meaning(manifest: Manifest) -> Callable[[Words], str | None]:
    """What heard words mean to a model: the command in its own words, or None."""

    def command_of(words: Words) -> str | None:
        found = manifest.command_of(words.text, words.language)
        return None if found is None else found.tokens

    return command_of


def check(config: Config, manifest: Manifest) -> tuple[Calibration, Limits, Health]:
    """Everything that can be refused before anything is opened or moved."""
    folder, servos = config.robot.calibration, config.robot.servos
    calibration = Calibration.load(folder / "arm.json", servos)
    limits, health = load_guards(folder / "limits.toml", error_text=FAMILIES[servos].error_text)
    cameras = load_calibration(config.robot.calibration / "camera.json")
    refuse_disagreements(manifest, JOINTS, [camera.spec for camera in cameras])
    sight_of(config, manifest, "")
    return calibration, limits, health


@contextlib.contextmanager
def house(
    config: Config,
    manifest: Manifest,
    *,
    seed: int = 0,
    record_to: str = "",
    sound: Sound | None = None,
    staged: Staged | None = None,
    outlet: str = "",
    say: Callable[[str], None] = print,
    starting: Callable[[str, float], object] = lambda what, ready_s: None,
) -> Iterator[House]:
    """Start every process and connect the arm; stop them all on the way out, whatever happened.

    outlet: name of the boxes that others may look into (telemetry.py); made before, by the caller. starting
    is told what is waited for next, and for how long at most (s).
    """
    calibration, limits, health = check(config, manifest)
    with contextlib.ExitStack() as stack:
        states = stack.enter_context(Mailbox.create(private_name("state"), STATE))
        chunks = stack.enter_context(Mailbox.create(private_name("chunk"), CHUNK))
        heard = stack.enter_context(Mailbox.create(private_name("heard"), HEARD))

        def keep(name: str, ready_s: float, main: Main, *args: object) -> Kept:
            one = Kept(name, main, args, ready_s)
            stack.callback(one.stop)
            return one

        stage, frames, path, policy = None, "", config.robot.port, policy_main
        if staged is not None:
            sound, frames, policy, record_to = staged
        if path == SIMULATED:
            frames = private_name("frames")
            stage = _simulated_robot(stack, config, seed, frames)
            path = stage.port
            say(f"simulated robot: servo bus on {path}, cameras through librealsense")
        # Before the model is loaded: a port that is not there should be known at once.
        family = FAMILIES[config.robot.servos]
        plug, bus = Plug(path), family.bus(open_port(path, config.robot.baud_bps), calibration.ids)
        stack.callback(bus.close)
        thinking = _policy_settings(config, manifest, frames, record_to, outlet)
        kept = [keep("policy", POLICY_READY_S, policy, thinking, open_cameras)]
        if sound is not None:
            hearing = voice_settings(config, manifest)
            kept.append(keep("voice", VOICE_READY_S, voice_main, hearing, sound.open_source))
        lacking = ""
        for one in reversed(kept):  # the voice is there first
            starting(one.name, one.ready_s)
            try:
                one.wait_ready()
            except EdgeWamError as error:
                if one.name != "voice" or config.voice.missing != "allow":
                    raise
                lacking = str(error)
        arm = family.arm(bus, calibration)
        arm.connect()

        stack.enter_context(Keeper(kept, say))
        thinker = RemoteThinker(states, chunks)
        back = functools.partial(reconnect, arm, plug, config.robot.baud_bps)
        yield House(arm, back, limits, health, thinker, HeardReader(heard), tuple(kept), stage, lacking)


def reconnect(arm: Arm, plug: Plug, baud_bps: int) -> None:
    """The arm again, wherever its adapter is now. BusError or CalibrationError if it is not there."""
    with contextlib.suppress(OSError):  # an adapter that never left is still ours, and would be refused to us
        arm.bus.close()
    arm.bus.reopen(open_port(plug.find(), baud_bps))
    arm.connect()


def _policy_settings(
    config: Config, manifest: Manifest, frames: str, record_to: str, outlet: str
) -> PolicySettings:
    model = config.model
    return PolicySettings(
        str(model.folder),
        model.steps,
        model.threads,
        model.replan_s,
        private_name("state"),
        private_name("chunk"),
        sight_of(config, manifest, frames),
        record_to,
        outlet,
    )


def voice_settings(config: Config, manifest: Manifest) -> VoiceSettings:
    """What the voice process is told."""
    voice = config.voice
    manifest.phrases(voice.language)  # refused with the languages that there are
    return VoiceSettings(
        voice.engine,
        voice.language,
        voice.vosk_model,
        tuple(command.phrases[voice.language] for command in manifest.commands),
        private_name("heard"),
        voice.confirm,
        voice.wake,
        voice.answers,
        private_name("state"),
        str(state() / "heard"),
        voice.keep_audio_mb,
        voice.listen == "push",
        voice.button,
        voice.button_key,
        public_name(config.robot.name, "talk"),
        voice.whisper_model,
        str(home() / STOP_MODEL) if voice.stop_spotter else "",
    )


def _simulated_robot(stack: contextlib.ExitStack, config: Config, seed: int, frames: str) -> Stage:
    sim = simulated("robot")
    wishes = stack.enter_context(Mailbox.create(private_name("wish"), sim.WISH))
    truths = stack.enter_context(Mailbox.create(private_name("truth"), sim.TRUTH))
    folder = str(config.robot.calibration)
    boxes = private_name("wish"), private_name("truth")
    settings = sim.SimSettings(folder, seed, frames, *boxes, servos=config.robot.servos)
    robot = Child("robot", sim.robot_main, (settings,))
    stack.callback(robot.stop)
    robot.wait_ready(ROBOT_READY_S)
    return Stage(wishes, truths, sim.WISH)


def microphone(device: str) -> Sound:
    """The real microphone."""
    from edge_wam.sense.microphone import Microphone

    return Sound(functools.partial(Microphone, device))
