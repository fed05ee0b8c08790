"""scripts/install.sh into a root folder of its own, with a Python that only pretends to install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_wam import config

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/usr/bin/env bash
echo "$*" >>"{calls}"
if [ -e "{fail}" ] && [[ "$*" == *$(cat "{fail}")* ]]; then exit 3; fi
case "$1 $2" in
    "-c "*) exit 0 ;;
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip")
        if [[ "$*" != *--upgrade* ]]; then
            for name in edge-wam edge-wam-safe-stop; do
                printf '#!/bin/sh\\n' >"$(dirname "$0")/$name"
                chmod +x "$(dirname "$0")/$name"
            done
        fi ;;
esac
"""


# Bash reads this before the script, which dies before its COUNT-th command then.
DIE = """
unset BASH_ENV
set -o functrace
trap 'COMMANDS=$((${COMMANDS:-0} + 1)); [ $COMMANDS != "$COUNT" ] || kill -9 $$' DEBUG
"""


class Machine:
    """A root folder to install into, from a source with small models."""

    def __init__(self, folder: Path, small: bool = False) -> None:
        self.folder, self.root, self.source = folder, folder / "root", ROOT
        self.root.mkdir()
        if small:
            self.source = folder / "source"
            for name in ("scripts", "edge_wam/service/files", "calibration"):
                shutil.copytree(ROOT / name, self.source / name)
            (self.source / "models/so101-tabletop").mkdir(parents=True)
            for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
                (self.source / name).write_text("")
        self.calls, self.fail, self.python = folder / "calls", folder / "fail", folder / "python"
        self.python.write_text(STAND_IN.format(calls=self.calls, fail=self.fail))
        self.python.chmod(0o755)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": os.environ["PATH"], "EDGE_WAM_ROOT": str(self.root), "PYTHON": str(self.python)}
        script = str(self.source / "scripts/install.sh")
        return subprocess.run(
            ["bash", script, *words], capture_output=True, text=True, env=given | environment
        )

    @property
    def version(self) -> str:
        link = self.root / "opt/edge-wam/venv"
        return os.readlink(link) if link.is_symlink() else ""

    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.root / "opt/edge-wam").glob("venv-*"))

    def killed_at(self, count: int, *words: str) -> bool:
        """Run it, killed before its count-th command; False if it has none."""
        (self.folder / "die.sh").write_text(DIE)
        done = self.run(*words, BASH_ENV=str(self.folder / "die.sh"), COUNT=str(count))
        assert done.returncode in (0, -9), done.stderr
        return done.returncode != 0

    @property
    def whole(self) -> bool:
        """Whether what runs is a version that was installed to its end."""
        return (self.root / "opt/edge-wam/venv/.whole").is_file()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


# Before each of them takes two minutes; the short way is before some.
@pytest.mark.parametrize(
    ("words", "first", "step"),
    [
        ((), 5, 37),
        (("--rollback",), 8, 40),
        (("--uninstall",), 3, 20),
        pytest.param((), 1, 1, marks=pytest.mark.slow),
        pytest.param(("--rollback",), 1, 1, marks=pytest.mark.slow),
        pytest.param(("--uninstall",), 1, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_before_any_of_its_commands_it_leaves_what_was_and_the_next_run_mends_it(
    tmp_path, words, first, step
):
    machine, count, killed = Machine(tmp_path, small=True), first, True
    while killed:
        while not machine.whole or len(machine.versions()) < 2:
            assert machine.run().returncode == 0
        before, settings = machine.version, machine.root / "etc/edge-wam/config.toml"
        settings.write_text("# mine\n")
        killed = machine.killed_at(count, *words)
        if words == ("--uninstall",):
            assert machine.run(*words).returncode == 0
            assert not list((machine.root / "etc/systemd/system").iterdir())
            assert not (machine.root / "opt/edge-wam").exists()
        else:
            assert machine.whole, f"killed before command {count}: {machine.version}, {machine.versions()}"
            done = machine.run()
            assert done.returncode == 0, f"killed before command {count}: {done.stderr}"
            assert machine.whole
            assert machine.version != before
            assert len(machine.versions()) == 2
        assert settings.read_text() == "# mine\n"
        count += step
    assert count > (80 if words == () else 12)


def test_a_first_install_that_is_killed_leaves_nothing_that_would_run(tmp_path):
    machine, count = Machine(tmp_path, small=True), 5
    while machine.killed_at(count):
        assert machine.whole or machine.version == ""
        assert machine.run().returncode == 0
        assert machine.whole
        shutil.rmtree(machine.root)
        machine.root.mkdir()
        count += 29
    assert count > 80


def test_everything_lies_where_the_unit_looks_for_it(machine):
    done = machine.run()
    assert done.returncode == 0, done.stderr
    unit = (machine.root / "etc/systemd/system/edge-wam.service").read_text()
    for line in unit.splitlines():
        if line.startswith(("ExecStart=", "ExecStopPost=")):
            program = line.split("=", 1)[1].lstrip("-").split()[0]
            assert os.access(machine.root / program.lstrip("/"), os.X_OK), line
    home = unit.split("EDGE_WAM_HOME=")[1].split()[0]
    assert (machine.root / home.lstrip("/") / "models/so101-tabletop/manifest.toml").is_file()
    assert (machine.root / home.lstrip("/") / "calibration/so101-sim/arm.json").is_file()
    for path in ("etc/udev/rules.d/61-edge-wam.rules", "usr/lib/tmpfiles.d/edge-wam.conf"):
        assert (machine.root / path).is_file()
    loaded = config.load(machine.root / "etc/edge-wam/config.toml")
    assert loaded.robot.port == config.SIMULATED


def test_an_upgrade_keeps_the_settings_and_the_version_before(machine):
    machine.run()
    first, settings = machine.version, machine.root / "etc/edge-wam/config.toml"
    settings.write_text("# mine\n")
    machine.run()
    second = machine.version
    assert second != first
    assert settings.read_text() == "# mine\n"
    assert machine.versions() == sorted([first, second])
    machine.run()
    assert machine.versions() == sorted([second, machine.version])  # the oldest is gone


def test_rollback_goes_back_and_only_where_there_is_something(machine):
    machine.run()
    first = machine.version
    refused = machine.run("--rollback")
    assert refused.returncode == 2
    assert "there is no version before" in refused.stderr
    machine.run()
    second = machine.version
    assert machine.run("--rollback").returncode == 0
    assert machine.version == first
    assert machine.run("--rollback").returncode == 0
    assert machine.version == second


@pytest.mark.parametrize(
    "step", ["-m venv", "-m pip install --quiet --upgrade", "[sim,voice,calibrate,record,web]"]
)
def test_an_upgrade_that_fails_leaves_the_old_version_and_the_next_one_mends_it(machine, step):
    machine.run()
    first = machine.version
    machine.fail.write_text(step)
    assert machine.run().returncode != 0
    assert machine.version == first
    machine.fail.unlink()
    assert machine.run().returncode == 0
    assert machine.version != first
    assert len(machine.versions()) == 2  # nothing half-made is left


def test_a_wheel_of_something_else_is_not_installed(machine, tmp_path):
    empty = tmp_path / "wheels"
    empty.mkdir()
    refused = machine.run("--wheels", str(empty))
    assert refused.returncode == 2
    assert "no edge_wam-*.whl in" in refused.stderr
    assert machine.version == ""
    (empty / "edge_wam-0.1.0-py3-none-any.whl").write_text("")
    assert machine.run("--wheels", str(empty)).returncode == 0
    assert "--no-index --find-links" in machine.calls.read_text()


def test_a_robot_by_name_has_its_own_settings_to_start_and_to_stop(machine):
    machine.run()
    units = machine.root / "etc/systemd/system"
    one, named = ((units / name).read_text() for name in ("edge-wam.service", "edge-wam@.service"))
    differ = [pair for pair in zip(one.splitlines(), named.splitlines(), strict=True) if pair[0] != pair[1]]
    assert [line.partition("=")[0] for line, _ in differ] == ["Description", "ExecStart", "ExecStopPost"]
    assert differ[1][1].endswith("run --config /etc/edge-wam/%i.toml --set robot.name=%i")
    assert differ[2][1].endswith("edge-wam-safe-stop --config /etc/edge-wam/%i.toml release")
    machine.run("--uninstall")
    assert list(units.iterdir()) == []


def test_a_jetson_gets_its_own_packages(machine):
    (machine.root / "etc").mkdir()
    (machine.root / "etc/nv_tegra_release").write_text("# R36 (release)\n")
    machine.run()
    calls = machine.calls.read_text()
    assert "[jetson,voice,calibrate,record,web]" in calls
    assert " --system-site-packages\n" in calls  # JetPack's TensorRT is no wheel


def test_another_machine_keeps_to_its_own_packages(machine):
    machine.run()
    assert "--system-site-packages" not in machine.calls.read_text()


def test_uninstall_leaves_settings_and_state(machine):
    machine.run()
    (machine.root / "var/lib/edge-wam").mkdir(parents=True)
    assert machine.run("--uninstall").returncode == 0
    left = [
        p for p in machine.root.rglob("*") if p.is_file() and "edge-wam" in str(p.relative_to(machine.root))
    ]
    assert [p.name for p in left] == ["config.toml"]  # beside the users that systemd-sysusers made
    assert (machine.root / "var/lib/edge-wam").is_dir()


@pytest.mark.parametrize("words", [("--what",), ("--wheels", "/nowhere")])
def test_a_misspelt_argument_changes_nothing(machine, words):
    refused = machine.run(*words)
    assert refused.returncode == 2
    assert "expected" in refused.stderr
    assert list(machine.root.iterdir()) == []
