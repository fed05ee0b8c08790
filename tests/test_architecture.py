"""The house's promises about who may know whom. Each check has a twin showing that it can fail."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edge_wam"
LINES_MAX = 400
ROOMS = ("sense", "think", "act", "sim", "train", "service")
APART = ("sense", "think", "act")
# robot.py joins the seams, and one function of it chooses the simulation.
SIM_DOOR = ("edge_wam.robot", "simulated")
# The one module of the runtime that runs torch, and who may open it; and who may build with the model's code.
TORCH_ROOM = "edge_wam.think.torch_backend"
TORCH_DOORS = {
    ("edge_wam.think.engine", "_backend"),
    ("edge_wam.think.machine", "machine"),
    ("edge_wam.think.benchmark", "_shares"),
}
TRAIN_DOORS = {
    (TORCH_ROOM, "eager"),
    ("edge_wam.think.compile", "_build_tensorrt"),
    ("edge_wam.cli", "_chain"),
    ("edge_wam.cli", "_dataset"),
    ("edge_wam.cli", "_sizes"),
}
HARDWARE = (
    *("serial", "pyrealsense2", "vosk", "pocketsphinx", "sounddevice", "mujoco", "openvino", "torch"),
    *("gpiod", "tokenizers", "threadpoolctl"),
)
NOT_IN_CONTROL = ("torch", "openvino", "mujoco", "vosk", "pyrealsense2")


class Import(NamedTuple):
    """`module` (dotted) imports `target`, inside `function` ('' at the top of the file)."""

    module: str
    target: str
    function: str

    @property
    def room(self) -> str:
        return room_of(self.module)

    @property
    def target_room(self) -> str:
        return room_of(self.target)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "edge_wam" and len(parts) > 1 and parts[1] in ROOMS else ""


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str, text: str) -> Iterator[Import]:
    """Every import of a source text, wherever it stands; `from a import b` counts as a and a.b."""

    def visit(node: ast.AST, function: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(module, alias.name, function) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: relative import"
                yield Import(module, child.module or "", function)
                yield from (Import(module, f"{child.module}.{alias.name}", function) for alias in child.names)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                yield from visit(child, child.name if inside and not function else function)

    yield from visit(ast.parse(text), "")


@functools.cache
def all_imports() -> list[Import]:
    return [found for path in sources() for found in imports_of(module_of(path), path.read_text())]


# --- the rules: each gives the imports that break it ----------------------------------------------


def rooms_that_meet(imports: list[Import]) -> list[Import]:
    return [i for i in imports if i.room in APART and i.target_room in APART and i.room != i.target_room]


def uses_of_sim(imports: list[Import]) -> list[Import]:
    """Outside of sim and train only one function may import sim."""
    return [
        i
        for i in imports
        if i.target_room == "sim" and i.room not in ("sim", "train") and (i.module, i.function) != SIM_DOOR
    ]


def uses_of_train(imports: list[Import]) -> list[Import]:
    """Outside of train only what builds or runs torch may import it, inside functions."""
    return [
        i
        for i in imports
        if i.target_room == "train" and i.room != "train" and (i.module, i.function) not in TRAIN_DOORS
    ]


def uses_of_torch(imports: list[Import]) -> list[Import]:
    """Outside of train one module may import torch, and only a few functions may import that module."""
    return [
        i
        for i in imports
        if i.room != "train"
        and (i.target.split(".")[0] in ("torch", "torch_tensorrt") or i.target == TORCH_ROOM)
        and i.module != TORCH_ROOM
        and (i.module, i.function) not in TORCH_DOORS
    ]


def impure_guard(imports: list[Import]) -> list[Import]:
    return [
        i
        for i in imports
        if i.module == "edge_wam.act.guard"
        and i.target.split(".")[0] == "edge_wam"
        and not i.target.startswith(("edge_wam.types", "edge_wam.errors"))
    ]


def hardware_at_the_top(imports: list[Import]) -> list[Import]:
    """Hardware packages are imported by what uses them, inside functions; sim and train may not differ."""
    return [
        i
        for i in imports
        if not i.function
        and i.target.split(".")[0] in HARDWARE
        and i.room not in ("sim", "train")
        and i.module != TORCH_ROOM
    ]


BROKEN = {
    rooms_that_meet: ("edge_wam.act.arm", "from edge_wam.think import features"),
    uses_of_sim: ("edge_wam.robot", "def real():\n    import edge_wam.sim.world"),
    uses_of_train: ("edge_wam.cli", "def main():\n    from edge_wam.train import teacher"),
    uses_of_torch: ("edge_wam.think.engine", "def eager():\n    import torch.nn"),
    impure_guard: ("edge_wam.act.guard", "from edge_wam.clock import Clock"),
    hardware_at_the_top: ("edge_wam.sense.realsense", "import pyrealsense2 as rs"),
}


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_the_rule_holds(rule):
    assert rule(all_imports()) == []


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_the_rule_can_fail(rule):
    module, text = BROKEN[rule]
    assert rule(list(imports_of(module, text))) != []


def test_the_door_to_the_simulation_is_open():
    module, function = SIM_DOOR
    door = list(imports_of(module, f"def {function}():\n    from edge_wam.sim import world"))
    assert uses_of_sim(door) == []


@pytest.mark.parametrize(("rule", "door"), [(uses_of_train, d) for d in sorted(TRAIN_DOORS)]
                         + [(uses_of_torch, d) for d in sorted(TORCH_DOORS)])  # fmt: skip
def test_the_doors_to_torch_are_used(rule, door):
    """A door that nobody goes through any more is to be walled up."""
    module, function = door
    ours = [i for i in all_imports() if (i.module, i.function) == (module, function)]
    assert any(i.target_room == "train" or i.target in ("torch", TORCH_ROOM) for i in ours)
    assert rule([i._replace(function="elsewhere") for i in ours]) != []


def test_files_are_short_enough_to_read():
    long = {str(path.relative_to(ROOT)): n for path in sources() if (n := lines(path)) > LINES_MAX}
    assert long == {}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_module_says_what_it_is():
    """A docstring in every file that has anything in it."""
    silent = [
        str(path)
        for path in sources()
        if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def run_python(code: str) -> str:
    """Run code in a fresh interpreter in the checkout; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_control_process_has_no_torch_nor_any_other_heavy_package():
    names = [
        name for name in ("loop", "remote", "process", "config", "manifest", "robot", "cli") if there(name)
    ]
    names += [f"act.{path.stem}" for path in (PACKAGE / "act").glob("*.py") if path.stem != "__init__"]
    code = "; ".join(f"import edge_wam.{name}" for name in names)
    loaded = run_python(f"import sys; {code}; print(*(m for m in {NOT_IN_CONTROL} if m in sys.modules))")
    assert loaded.strip() == ""


def there(name: str) -> bool:
    return (PACKAGE / f"{name}.py").is_file()


def test_every_module_imports_without_hardware_packages():
    """As on a machine where only numpy is installed; training is the place that needs torch."""
    modules = [module_of(path) for path in sources() if room_of(module_of(path)) != "train"]
    modules.remove(TORCH_ROOM)
    run_python(
        f"""
import importlib, sys
for name in {HARDWARE}:
    sys.modules[name] = None  # import of it fails
for name in {modules}:
    importlib.import_module(name)
"""
    )
