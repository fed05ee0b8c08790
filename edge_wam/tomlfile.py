"""TOML in and out: reading with messages a person can act on, and a small writer.

A `Table` hands out its keys one by one, checked, and `done()` refuses whatever was not asked for,
so a misspelt key is an error that names the nearest known one, never a silent default.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from edge_wam.errors import EdgeWamError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Scalar: TypeAlias = str | int | float | bool
Value: TypeAlias = "Scalar | Sequence[Value] | Mapping[str, Value]"

_T = TypeVar("_T")


class Table:
    """One table of a TOML file. `where` names it in messages; every failure is of type `error`."""

    def __init__(self, content: Mapping[str, object], where: str, error: type[EdgeWamError]) -> None:
        self._content, self.where, self._error = content, where, error
        self._asked: list[str] = []

    def text(self, key: str, default: str | None = None, *, of: Sequence[str] = ()) -> str:
        """A string, one of `of` if that is given."""
        value = self._get(key, str, default)
        if of and value not in of:
            raise self.wrong(key, f"one of {', '.join(of)}", value, hint=nearest(value, of))
        return value

    def integer(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """A whole number in low..high."""
        value = self._get(key, int, default)
        if isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"a whole number in {low}..{high}", value)
        return value

    def number(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A finite number in low..high; whole ones are welcome."""
        value = self._get(key, (int, float), default)
        if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
            raise self.wrong(key, f"a number in {low:g}..{high:g}", value)
        return float(value)

    def yes(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        return self._get(key, bool, default)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._get(key, list, None)
        if not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of strings", value)
        return tuple(value)

    def numbers(self, key: str, count: int | None = None) -> tuple[float, ...]:
        """A list of finite numbers, `count` of them if given."""
        value = self._get(key, list, None)
        if not all(_is_number(item) for item in value) or (count is not None and len(value) != count):
            raise self.wrong(key, f"a list of {'' if count is None else count} numbers", value)
        return tuple(float(item) for item in value)

    def rows(self, key: str, width: int) -> tuple[tuple[float, ...], ...]:
        """A list of rows of `width` finite numbers."""
        value = self._get(key, list, None)
        good = all(isinstance(row, list) and len(row) == width and all(map(_is_number, row)) for row in value)
        if not good:
            raise self.wrong(key, f"rows of {width} numbers", value)
        return tuple(tuple(float(item) for item in row) for row in value)

    def table(self, key: str, *, optional: bool = False) -> Table:
        """The table under `key`; an empty one if it is missing and optional."""
        value = self._get(key, dict, {} if optional else None)
        return Table(value, f"{self.where}: [{key}]", self._error)

    def tables(self, key: str) -> list[Table]:
        """The array of tables under `key`, at least one."""
        value = self._get(key, list, None)
        if not value or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, f"one or more [[{key}]] tables", value)
        return [Table(item, f"{self.where}: [[{key}]] {i + 1}", self._error) for i, item in enumerate(value)]

    def scalars(self) -> dict[str, Scalar]:
        """Everything in a table whose keys are free; strings and finite numbers only."""
        found: dict[str, Scalar] = {}
        for key, value in self._content.items():
            if not isinstance(value, (str, bool)) and not _is_number(value):
                raise self.wrong(key, "a string or a finite number", value)
            assert isinstance(value, (str, int, float))
            found[key] = value
        self._asked += found
        return found

    def names(self) -> list[str]:
        """The keys that are there, in the file's order."""
        return list(self._content)

    def done(self) -> None:
        """Refuse every key that was not asked for."""
        for key in self._content:
            if key not in self._asked:
                raise self._error(
                    f"{self.where}: unknown key '{key}'{nearest(key, self._asked)}; "
                    f"known: {', '.join(sorted(self._asked))}"
                )

    def wrong(self, key: str, expected: str, found: object, hint: str = "") -> EdgeWamError:
        """The error that says what was expected of `key` and what was found."""
        shown = repr(found)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        return self._error(f"{self.where}: {key}: expected {expected}, found {shown}{hint}")

    def _get(self, key: str, kind: type[_T] | tuple[type[_T], ...], default: _T | None) -> _T:
        self._asked.append(key)
        if key not in self._content:
            if default is None:
                present = ", ".join(self._content) or "nothing"
                raise self._error(
                    f"{self.where}: '{key}' is missing{nearest(key, self._content)}; it has: {present}"
                )
            return default
        value = self._content[key]
        if not isinstance(value, kind):
            raise self.wrong(key, f"a {_KINDS.get(kind, 'number')}", value)
        return value


_KINDS: dict[object, str] = {
    str: "string",
    int: "whole number",
    bool: "truth value (true or false)",
    list: "list",
    dict: "table",
}


def read(path: Path, error: type[EdgeWamError], what: str) -> Table:
    """The file's top table. `error` if it is not there or not TOML; `what` is what it is for."""
    return Table(load(path, error, what), str(path), error)


def load(path: Path, error: type[EdgeWamError], what: str) -> dict[str, Any]:
    """As `read`, unchecked."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{what}: cannot read {path} ({cause.strerror})") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise error(f"{what}: {path} is not TOML: {cause}") from cause
    return content


def value(text: str) -> Any:
    """What TOML makes of the text on the right of an equals sign; the text itself if that is not TOML."""
    try:
        return tomllib.loads(f"it = {text}")["it"]
    except tomllib.TOMLDecodeError:
        return text


def dumps(content: Mapping[str, Value], comment: str = "") -> str:
    """TOML text of nested mappings, lists and scalars; lists of mappings become arrays of tables."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    _emit(content, (), lines)
    return "\n".join(lines).strip() + "\n"


def _emit(table: Mapping[str, Value], path: tuple[str, ...], lines: list[str]) -> None:
    later: list[tuple[str, Value]] = []
    for key, value in table.items():
        if isinstance(value, Mapping) or _is_tables(value):
            later.append((key, value))  # plain keys first: after a header they would belong to it
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in later:
        inner = (*path, key)
        name = ".".join(_key(part) for part in inner)
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]"]
            _emit(value, inner, lines)
        elif isinstance(value, Sequence):
            for item in value:
                assert isinstance(item, Mapping)
                lines += ["", f"[[{name}]]"]
                _emit(item, inner, lines)


def _is_tables(value: Value) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(item, Mapping) for item in value)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _key(key: str) -> str:
    plain = bool(key) and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if plain else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped and JSON does not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))  # 'nan' and 'inf' are TOML as well
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    rows = [_value(item) for item in value]
    nested = any(isinstance(item, Sequence) and not isinstance(item, str) for item in value)
    return "[\n  " + ",\n  ".join(rows) + ",\n]" if nested else "[" + ", ".join(rows) + "]"
