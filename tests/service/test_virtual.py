"""The unit, the udev rules and the limits in a machine with its own kernel: `make test-vm`.

The tests share one machine and follow one another. An emulated processor is some twenty times slower than
this one: times are the emulation's, and nothing is asked of the loop's lateness.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import virtual
from virtual import SERIAL, Virtual

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(bool(virtual.lacking()), reason=virtual.lacking()),
]
SETTINGS, UNITS = "/etc/edge-wam/config.toml", "/etc/systemd/system"
PYTHON = "/opt/edge-wam/venv/bin/python"
HOME = "EDGE_WAM_HOME=/opt/edge-wam/venv/share/edge-wam"
VIRTUAL = "/srv/source/tests/service/virtual"
ARM = f"/dev/edge-wam/arm-{SERIAL}"
START_S, LONG_S = 300.0, 240.0
# The watchdog's ten seconds are a tick or two here.
DROP_IN = f"""[Service]
ExecStart=
ExecStart={PYTHON} {VIRTUAL}/run.py {SETTINGS}
WatchdogSec=120
"""
DO = """
import time
from edge_wam.telemetry import Verb, Window
window = Window(asking=True)
plan, _ = window.look()
window.ask(Verb.DO, next(iter(plan.commands)), by="a test")
"""
POLICIES = """
import os, sys
for thread in os.listdir(f"/proc/{sys.argv[1]}/task"):
    print(thread, os.sched_getscheduler(int(thread)) & 3)
"""
# All but the model and the recogniser, which take an emulated processor too long.
EXAMINE = """
import sys
from pathlib import Path
from edge_wam import layers
from edge_wam.service import doctor
doctor.LOOKS = tuple(look for look in doctor.LOOKS if look[0] not in ("model", "engine", "recogniser"))
sys.exit(doctor.examine(layers.load([Path(sys.argv[1])], []).config, as_json=True))
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Virtual]:
    with Virtual() as made:
        print(f"\nimage made in {made.image_s:.0f} s, booted in {made.boot_s:.0f} s")
        made.write(SETTINGS, f'[robot]\nport = "{ARM}"\n')
        made.write(f"{UNITS}/edge-wam.service.d/virtual.conf", DROP_IN)
        made.run("systemctl", "daemon-reload")
        yield made


def there(machine: Virtual, path: str) -> bool:
    return machine.run("test", "-e", path, check=False).returncode == 0


def said(machine: Virtual, since: str = "") -> list[str]:
    machine.run("journalctl", "--sync")
    return [str(entry["MESSAGE"]) for entry in machine.journal("--unit=edge-wam", since=since)]


def says(machine: Virtual, since: str, text: str) -> float:
    """Seconds until the service has said this."""
    try:
        return machine.wait(lambda: any(text in line for line in said(machine, since)), LONG_S)
    except TimeoutError:
        pytest.fail(f"not '{text}' within {LONG_S:g} s:\n" + "\n".join(said(machine)[-20:]))


def cable(machine: Virtual, *words: str) -> None:
    """The other cable: an adapter of cdc_acm."""
    machine.run("sh", f"{VIRTUAL}/cable.sh", *words)


def test_an_adapter_gets_a_name_that_stays_by_its_serial_number_and_a_stranger_none(machine):
    cable(machine, "make", "arm", "0x55d3", "5A68012345")
    cable(machine, "make", "stranger", "0x1234", "X1")
    name = "/dev/edge-wam/arm-5A68012345"
    cable(machine, "plug", "arm")
    named_s = machine.wait(lambda: there(machine, name), LONG_S)
    assert machine.run("readlink", "-f", name).stdout.startswith("/dev/ttyACM")
    assert machine.run("stat", "-Lc", "%G %a", name).stdout.split() == ["dialout", "660"]
    cable(machine, "unplug", "arm")
    machine.wait(lambda: not there(machine, name), LONG_S)
    cable(machine, "plug", "stranger")
    machine.wait(lambda: there(machine, "/dev/ttyACM0"), LONG_S)
    machine.run("udevadm", "settle")
    assert machine.run("ls", "/dev/edge-wam", check=False).stdout == ""
    cable(machine, "unplug", "stranger")
    print(f"cdc_acm: named {named_s:.1f} s after it was plugged in")


def test_an_ftdi_adapter_is_told_not_to_wait(machine):
    machine.cable.plug()
    machine.wait(lambda: there(machine, ARM), LONG_S)
    device = Path(machine.run("readlink", "-f", ARM).stdout.strip())
    assert device.name.startswith("ttyUSB")
    timer = f"/sys/class/tty/{device.name}/device/latency_timer"
    machine.wait(lambda: machine.run("cat", timer).stdout.strip() == "1", 30.0)  # the driver's own is 16
    assert machine.run("stat", "-Lc", "%G %a", ARM).stdout.split() == ["dialout", "660"]


def test_the_service_starts_on_that_name_and_the_arm_is_held(machine):
    done = machine.run("sudo", "systemctl", "start", "edge-wam", check=False, timeout_s=START_S)
    assert done.returncode == 0, "\n".join(said(machine))
    assert machine.show("ActiveState") == "active"
    machine.wait(lambda: bool(machine.cable.plant.torque_on.all()), LONG_S)


@pytest.mark.parametrize("capabilities", [True, False])
def test_the_control_thread_and_no_other_is_ahead_of_everybody_and_its_memory_is_locked(
    machine, capabilities
):
    """The second time without a capability: then the limits of the unit are all it has."""
    if not capabilities:
        machine.run("systemctl", "stop", "edge-wam", timeout_s=START_S)
        machine.write(
            f"{UNITS}/edge-wam.service.d/limits.conf",
            "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n",
        )
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "edge-wam", timeout_s=START_S)
    machine.wait(lambda: bool(machine.cable.plant.torque_on.all()), LONG_S)
    pid = machine.show("MainPID")
    assert machine.run("ps", "-o", "user=", "-p", pid, check=False).stdout.strip() in ("edge-wam", "")
    limits = machine.run("cat", f"/proc/{pid}/limits").stdout
    assert re.search(r"Max realtime priority +60 +60", limits)
    assert re.search(r"Max locked memory +unlimited +unlimited", limits)
    status = machine.run("cat", f"/proc/{pid}/status").stdout
    (user,) = re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE)
    assert user == machine.run("id", "-u", "edge-wam").stdout.strip()
    (effective,) = re.findall(r"^CapEff:\s+(\w+)", status, re.MULTILINE)
    assert (int(effective, 16) != 0) == capabilities
    (locked_kb,) = map(int, re.findall(r"^VmLck:\s+(\d+)", status, re.MULTILINE))
    assert locked_kb > 50_000
    told = machine.run("python3", "-c", POLICIES, pid).stdout
    policies = dict(line.split() for line in told.splitlines())
    assert policies.pop(pid) == "1"  # SCHED_FIFO
    assert set(policies.values()) == {"0"}
    assert not any("not wholly in real time" in text for text in said(machine))
    print(f"SCHED_FIFO and {locked_kb >> 10} MB locked, {'with' if capabilities else 'without'} capabilities")


def test_told_to_it_moves(machine):
    before_rad = machine.cable.plant.position_rad.copy()

    def moved() -> bool:
        return bool(np.abs(machine.cable.plant.position_rad - before_rad).max() > 0.05)

    for _ in range(5):  # on a busy machine a reply that is too late is an arm that is gone
        machine.run("env", HOME, PYTHON, "-c", DO)
        with contextlib.suppress(TimeoutError):
            machine.wait(moved, 20.0)
            return
    pytest.fail("\n".join(said(machine)[-20:]))


def test_a_pulled_cable_is_waited_for_and_the_arm_held_again(machine):
    since = machine.cursor()
    machine.cable.unplug()
    machine.wait(lambda: not there(machine, ARM), LONG_S)
    # Not "Waiting for the arm": where a reply was too late it may have been waiting already.
    says(machine, since, "is not plugged in")
    held_rad = machine.cable.plant.position_rad.copy()
    since = machine.cursor()
    machine.cable.plug()
    back_s = says(machine, since, "the arm is back")
    assert there(machine, ARM)
    assert (machine.show("ActiveState"), machine.show("NRestarts")) == ("active", "0")
    assert machine.cable.plant.torque_on.all()
    assert np.abs(machine.cable.plant.position_rad - held_rad).max() < 0.35
    print(f"held again {back_s:.1f} s after the cable was plugged in")


def test_stopped_it_lets_go(machine):
    machine.run("systemctl", "stop", "edge-wam", timeout_s=START_S)
    assert not machine.cable.plant.torque_on.any()
    assert machine.show("Result") == "success", "\n".join(said(machine)[-20:])
    safe = [json.loads(text) for text in said(machine) if text.startswith('{"way": "release"')]
    assert len(safe[-1]["servos"]) == 6
    assert safe[-1]["confirmed"]


def test_the_doctor_finds_the_adapter_and_the_servos(machine):
    words = ["runuser", "-u", "edge-wam", "--", "env", HOME, "EDGE_WAM_STATE=/var/lib/edge-wam"]
    told = machine.run(*words, PYTHON, "-c", EXAMINE, SETTINGS, check=False, timeout_s=600.0)
    found = {one["what"]: one for one in json.loads(told.stdout)}
    for one in found.values():
        print(f"{one['state']:<6}{one['what']:<24}{one['text']}")
    assert found["adapter"]["text"] == "ttyUSB0 waits 1 ms for more bytes"
    assert found["servo bus"]["text"].startswith(f"6 servos on {ARM}")
    assert re.search(r"QEMU USB SERIAL on \d-\d \(12 Mbit/s\)", found["usb"]["text"])
    assert found["units"]["text"].startswith("edge-wam is inactive, ")
    assert found["mailboxes"]["state"] == "ok"
