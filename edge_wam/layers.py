"""Settings in layers: later ones win, key by key, and it is known where each value came from.

    the defaults (config.py)
    /etc/edge-wam/config.toml, ~/.config/edge-wam/config.toml
    the environment (EDGE_WAM_ROBOT_PORT=...)
    flags (--set robot.port=...)

`--config FILE` stands in for both files. Only what may move a real arm reads the files by itself (run,
doctor, compile, config): the demo must stay simulated on a robot, too. Every layer is checked alone, so that
a mistake is named with the place where it was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge_wam import config as settings
from edge_wam import tomlfile
from edge_wam.config import Config, as_tables
from edge_wam.errors import ConfigError, nearest
from edge_wam.tomlfile import Table

DEFAULT = "default"
SYSTEM = Path("/etc/edge-wam/config.toml")
_PREFIX = "EDGE_WAM_"
_PATHS = (("robot", "calibration"), ("model", "folder"), ("record", "folder"), ("web", "token_file"))

Content = dict[str, dict[str, Any]]


class Layer(NamedTuple):
    """Settings from one place. base: what relative folders are relative to."""

    name: str
    content: Content
    base: Path


class Layered(NamedTuple):
    """The settings, and where each (`robot.port`) came from."""

    config: Config
    origin: Mapping[str, str]


def files(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The system's and the user's settings, as far as they exist."""
    base = environment.get("XDG_CONFIG_HOME")
    user = (Path(base) if base else Path.home() / ".config") / "edge-wam" / "config.toml"
    return [path for path in (SYSTEM, user) if path.is_file()]


def load(
    paths: Iterable[Path], flags: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> Layered:
    """Everything, merged. ConfigError names the layer, the key, what was expected and found."""
    layers = [Layer(str(path), _read(path), path.resolve().parent) for path in paths]
    here = Path.cwd()
    layers.append(Layer("the environment", _environment(environment), here))
    layers.append(Layer("--set", _flags(flags), here))
    merged: Content = {}
    origin: dict[str, str] = {}
    for layer in layers:
        settings.check(Table(layer.content, layer.name, ConfigError), layer.base)
        for table, values in layer.content.items():
            for key, value in values.items():
                merged.setdefault(table, {})[key] = _absolute(table, key, value, layer.base)
                origin[f"{table}.{key}"] = layer.name
    told = ", ".join(layer.name for layer in layers if layer.content) or "the defaults"
    return Layered(settings.check(Table(merged, told, ConfigError), settings.home()), origin)


def _read(path: Path) -> Content:
    content: Content = tomlfile.load(path, ConfigError, "settings")
    return content


def _environment(environment: Mapping[str, str]) -> Content:
    """EDGE_WAM_<TABLE>_<KEY>; other names of ours (EDGE_WAM_HOME) are not settings."""
    found: Content = {}
    for table in as_tables(settings.load()):
        prefix = f"{_PREFIX}{table.upper()}_"
        for name, text in environment.items():
            if name.startswith(prefix):
                key = name.removeprefix(prefix).lower()
                found.setdefault(table, {})[key] = _value(table, key, text)
    return found


def _flags(flags: Sequence[str]) -> Content:
    found: Content = {}
    tables = as_tables(settings.load())
    for flag in flags:
        name, equals, text = flag.partition("=")
        table, dot, key = name.partition(".")
        if not (equals and dot and key):
            raise ConfigError(f"--set: expected TABLE.KEY=VALUE, found '{flag}'; try: --set robot.port=sim")
        if table not in tables:
            known = ", ".join(tables)
            raise ConfigError(f"--set: unknown table '{table}'{nearest(table, tables)}; known: {known}")
        found.setdefault(table, {})[key] = _value(table, key, text)
    return found


def _value(table: str, key: str, text: str) -> Any:
    """Text is text where text is wanted (a serial number is no number); else what TOML makes of it."""
    usual = as_tables(settings.load())[table].get(key, "")
    return text if isinstance(usual, str) else tomlfile.value(text)


def _absolute(table: str, key: str, value: Any, base: Path) -> Any:
    if (table, key) in _PATHS and value:
        return str(base / Path(value).expanduser())
    if table == "cameras" and value.endswith(".db3"):
        return str(base / value)
    return value


def show(layered: Layered) -> str:
    """TOML of every setting, with where it came from beside it."""
    lines: list[str] = []
    for table, values in as_tables(layered.config).items():
        lines += ["", f"[{table}]"]
        for key, value in values.items():
            origin = layered.origin.get(f"{table}.{key}", DEFAULT)
            lines.append(f"{tomlfile.dumps({key: value}).strip():<44}# {origin}")
    return "\n".join(lines).lstrip()
