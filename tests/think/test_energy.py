"""Joules from a sysfs as a Jetson's and a PC's kernels write it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge_wam.think import energy

NANO = {"1-0040": ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]}
AGX = {"1-0040": ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"], "1-0041": ["NC", "VDDQ_VDD2_1V8AO", "NC"]}


def jetson(sys, chips, milliamps=2000):
    """Channel n carries 5 V and n times the current."""
    for number, (chip, labels) in enumerate(chips.items()):
        folder = sys / f"bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon{number + 2}"
        folder.mkdir(parents=True)
        for channel, label in enumerate(labels, 1):
            (folder / f"in{channel}_label").write_text(f"{label}\n")
            (folder / f"in{channel}_input").write_text("5000\n")
            (folder / f"curr{channel}_input").write_text(f"{channel * milliamps}\n")
        (folder / "in7_label").write_text("sum of shunt voltages\n")
    return sys


def pc(sys, packages=(5_000_000,), limit_uj=262_143_328_850):
    for number, uj in enumerate(packages):
        for name in (f"intel-rapl:{number}", f"intel-rapl:{number}:0"):
            folder = sys / "class/powercap" / name
            folder.mkdir(parents=True)
            (folder / "energy_uj").write_text(f"{uj}\n")
            (folder / "max_energy_range_uj").write_text(f"{limit_uj}\n")
    return sys


@pytest.mark.parametrize(
    ("chips", "what", "watts"),
    [(NANO, "VDD_IN", 10), (AGX, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", 60)],
)
def test_a_jetsons_module_is_measured_whole_and_nothing_twice(tmp_path, chips, what, watts):
    began_s = time.monotonic()
    with energy.measured(jetson(tmp_path, chips)) as spent:
        time.sleep(0.2)
    took_s = time.monotonic() - began_s
    assert spent.what == what
    assert 0.2 * watts * 0.9 <= spent.joules <= took_s * watts
    assert energy.told(tmp_path)


def test_a_current_that_changes_is_integrated(tmp_path):
    jetson(tmp_path, NANO)
    current = tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/curr1_input"
    new = current.with_suffix(".new")
    new.write_text("20000\n")
    with energy.measured(tmp_path) as spent:
        time.sleep(0.3)
        changed_s = time.monotonic()
        new.replace(current)
        time.sleep(0.3)
        rest_s = time.monotonic() - changed_s
    assert spent.joules == pytest.approx(0.3 * 10 + rest_s * 100, rel=0.35)
    assert spent.joules > 25  # not the first reading times all of the time: 6


@pytest.mark.parametrize("gone", ["in1_label", "in1_input", "curr1_input"])
def test_a_rail_that_is_not_there_is_nothing_to_tell_of(tmp_path, gone):
    jetson(tmp_path, NANO)
    (tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2" / gone).unlink()
    with energy.measured(tmp_path) as spent:
        pass
    assert np.isnan(spent.joules)
    assert not energy.told(tmp_path)


def test_a_sensor_that_falls_silent_on_the_way_tells_nothing_and_stops_nobody(tmp_path):
    jetson(tmp_path, NANO)
    with energy.measured(tmp_path) as spent:
        (tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2/curr1_input").write_text("garbage")
        time.sleep(0.1)
    assert np.isnan(spent.joules)


def test_whatever_happens_in_the_block_the_sampling_ends(tmp_path):
    with pytest.raises(ValueError, match="somebody's"), energy.measured(jetson(tmp_path, NANO)):
        raise ValueError("somebody's")
    assert "rails" not in {thread.name for thread in threading.enumerate()}


def test_a_pcs_packages_are_added_up_and_their_parts_are_not(tmp_path):
    pc(tmp_path, (5_000_000, 7_000_000))
    with energy.measured(tmp_path) as spent:
        for package in ("0", "0:0", "1", "1:0"):
            path = tmp_path / f"class/powercap/intel-rapl:{package}/energy_uj"
            path.write_text(str(int(path.read_text()) + 1_500_000))
    assert (spent.joules, spent.what) == (3.0, "package")


def test_a_counter_that_begins_anew_is_no_negative_energy(tmp_path):
    pc(tmp_path, (9_000_000,), limit_uj=10_000_000)
    with energy.measured(tmp_path) as spent:
        (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("1000000")
    assert spent.joules == 2.0


def test_a_counter_that_only_root_may_read_tells_nothing(tmp_path):
    pc(tmp_path)
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").unlink()  # root reads what may not be read
    with energy.measured(tmp_path) as spent:
        pass
    assert np.isnan(spent.joules)
    assert spent.what == ""


def test_a_machine_that_tells_nothing(tmp_path):
    assert not energy.told(tmp_path)
    with energy.measured(tmp_path) as spent:
        pass
    assert np.isnan(spent.joules)
