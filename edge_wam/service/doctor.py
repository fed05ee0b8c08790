"""`edge-wam doctor`: everything the robot needs, looked at one by one, nothing moved. A line each.

With --fix, what is not well and has a safe cure gets it, and is looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from edge_wam import manifest as manifests
from edge_wam import telemetry
from edge_wam.act.bus import existing_ports, open_port
from edge_wam.act.calibration import Calibration
from edge_wam.act.families import FAMILIES
from edge_wam.config import SIMULATED, Config
from edge_wam.errors import EdgeWamError
from edge_wam.robot import check
from edge_wam.sense.camera import CameraCalibration, load_calibration
from edge_wam.sense.voice import describe, open_recogniser
from edge_wam.service import looks, standing, wiring
from edge_wam.think.choice import open_engine


class Finding(NamedTuple):
    """One line of the doctor's. state: ok, warn (it runs, but) or FAIL."""

    what: str
    state: str
    text: str


LOOKS: tuple[tuple[str, Callable[[Config], str]], ...] = (
    ("machine", lambda _: looks.machine()),
    ("clocks", lambda _: looks.clocks()),
    ("packages", lambda _: looks.packages()),
    ("real time", lambda _: looks.real_time()),
    ("room", lambda _: looks.room()),
    ("settings", lambda config: config.source),
    ("calibration and limits", lambda config: _robot(config)),
    ("model", lambda config: _model(config)),
    ("engine", standing.engine),
    ("recogniser", lambda config: _recogniser(config)),
    ("microphone", looks.microphone),
    ("push-to-talk", looks.button),
    ("wake word", looks.wake_word),
    ("likeness", looks.likeness),
    ("usb", wiring.usb),
    ("cameras", looks.cameras),
    ("frames", wiring.frames),
    ("adapter", looks.adapter),
    ("servo bus", lambda config: _bus(config)),
    ("mailboxes", lambda _: standing.leftovers()),
    ("units", lambda _: standing.units()),
    ("clock", lambda _: standing.clock()),
)
# What a robot that runs has for itself.
ITS_OWN = ("microphone", "frames", "servo bus")
CURES: Mapping[str, Callable[[Config], str]] = {
    "engine": standing.compile_engine,
    "adapter": standing.wake_adapter,
    "mailboxes": standing.remove_leftovers,
}


def examine(config: Config, as_json: bool = False, fix: bool = False) -> int:
    """Print every finding, as it is found. 0 if the robot could start, 1 if not."""
    findings = []
    for what, look in LOOKS:
        # Asked each time: it may have begun since.
        if what in ITS_OWN and telemetry.runs(config.robot.name):
            finding = Finding(what, "ok", f"not looked at: robot '{config.robot.name}' runs and has it")
        else:
            finding = _look(what, look, config)
        if fix and finding.state != "ok" and what in CURES:
            finding = _cured(what, look, config, as_json)
        findings.append(finding)
        if not as_json:
            print(f"{finding.state:<6}{what:<24}{finding.text}", flush=True)
    failed = [finding.what for finding in findings if finding.state == "FAIL"]
    warned = [finding.what for finding in findings if finding.state == "warn"]
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings]))
    elif failed:
        print(f"The robot cannot start: {', '.join(failed)}.")
    else:
        print(
            "The robot can start." + (f" It would be better off with: {', '.join(warned)}." if warned else "")
        )
    return 1 if failed else 0


def _look(what: str, look: Callable[[Config], str], config: Config) -> Finding:
    try:
        return Finding(what, "ok", look(config))
    except looks.Imperfect as warning:
        return Finding(what, "warn", str(warning))
    except EdgeWamError as error:
        return Finding(what, "FAIL", str(error))


def _cured(what: str, look: Callable[[Config], str], config: Config, quiet: bool) -> Finding:
    """What is found after the cure; where that failed, why."""
    try:
        done = CURES[what](config)
    except EdgeWamError as error:
        return Finding(what, "FAIL" if _look(what, look, config).state == "FAIL" else "warn", str(error))
    if not quiet:
        print(f"{'fixed':<6}{what:<24}{done}", flush=True)
    return _look(what, look, config)


def _robot(config: Config) -> str:
    check(config, manifests.load(config.model.folder))
    cameras = load_calibration(config.robot.calibration / "camera.json")
    return f"{config.robot.calibration} fits the model; {'; '.join(map(measured, cameras))}"


def measured(camera: CameraCalibration) -> str:
    """What scripts/calibrate.py found out about a camera."""
    place = "place unknown" if camera.mount is None else f"placed to {camera.mount.error_px:.2f} px"
    delay = "delay unknown" if camera.delay_s is None else f"{1e3 * camera.delay_s:.0f} ms late"
    return f"{camera.spec.name}: {place}, {delay}"


def _model(config: Config) -> str:
    said: list[str] = []
    manifest, engine, what = open_engine(config.model.folder, config.model.threads, say=said.append)
    agreed = engine.agreement
    found = (
        f"{manifest.name}: {what}; golden batch reproduced (rows {agreed.rows:.1e}, frames "
        f"{agreed.frames:.1e}), ready in {engine.load_s:.1f} s"
    )
    return "; ".join([found, *said])


def _recogniser(config: Config) -> str:
    manifest = manifests.load(config.model.folder)
    voice = config.voice
    return describe(
        open_recogniser(
            voice.engine,
            voice.language,
            manifest.phrases(voice.language),
            voice.vosk_model,
            whisper_model=voice.whisper_model,
        )
    )


def _bus(config: Config) -> str:
    if config.robot.port == SIMULATED:
        return "simulated"
    family = FAMILIES[config.robot.servos]
    calibration = Calibration.load(config.robot.calibration / "arm.json", config.robot.servos)
    port = open_port(config.robot.port, config.robot.baud_bps)
    try:
        bus = family.bus(port, calibration.ids)
        family.arm(bus, calibration).connect()
        seen = bus.read_block()
        where = f"{config.robot.port} (of {', '.join(existing_ports())})"
        warmest = calibration.joints[int(seen.temperature.argmax())].name
        return (
            f"{len(calibration.ids)} servos on {where}, as calibrated; "
            f"{min(seen.voltage) / 10:.1f} V or more, {seen.temperature.max()} degC or less ({warmest})"
        )
    finally:
        port.close()
