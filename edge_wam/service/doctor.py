"""`edge-wam doctor`: everything the robot needs, looked at one by one, nothing moved. A line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge_wam import manifest as manifests
from edge_wam.act.arm import Arm, Calibration
from edge_wam.act.bus import FeetechBus, existing_ports, open_port
from edge_wam.config import SIMULATED, Config
from edge_wam.errors import EdgeWamError
from edge_wam.robot import check
from edge_wam.sense.voice import describe, open_recogniser
from edge_wam.think.choice import open_engine


class Finding(NamedTuple):
    """One line of the doctor's."""

    what: str
    well: bool
    text: str


def examine(config: Config) -> int:
    """Print every finding. 0 if all is well, 1 if not."""
    looks: list[tuple[str, Callable[[Config], str]]] = [
        ("settings", lambda c: c.source),
        ("calibration and limits", _robot),
        ("model", _model),
        ("recogniser", _recogniser),
        ("servo bus", _bus),
    ]
    findings = [_look(what, look, config) for what, look in looks]
    for finding in findings:
        print(f"{'ok  ' if finding.well else 'FAIL'}  {finding.what:<24}{finding.text}")
    return 0 if all(finding.well for finding in findings) else 1


def _look(what: str, look: Callable[[Config], str], config: Config) -> Finding:
    try:
        return Finding(what, True, look(config))
    except EdgeWamError as error:
        return Finding(what, False, str(error))


def _robot(config: Config) -> str:
    check(config, manifests.load(config.model.folder))
    return f"{config.robot.calibration} fits the model"


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
        open_recogniser(voice.engine, voice.language, manifest.phrases(voice.language), voice.vosk_model)
    )


def _bus(config: Config) -> str:
    if config.robot.port == SIMULATED:
        return "simulated"
    calibration = Calibration.load(config.robot.calibration / "arm.json")
    port = open_port(config.robot.port, config.robot.baud_bps)
    try:
        bus = FeetechBus(port, calibration.ids)
        Arm(bus, calibration).connect()
        seen = bus.read_block()
        where = f"{config.robot.port} (of {', '.join(existing_ports())})"
        return f"{len(calibration.ids)} servos on {where}, {min(seen.voltage) / 10:.1f} V"
    finally:
        port.close()
