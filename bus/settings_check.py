"""In come TOML tables and their structs, out go checked values or ONE clear line."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from bus.errors import SettingsError

_WORDS = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list"}


@dataclass(frozen=True)
class Checker:
    """The structs of one file. `hidden`: keys that only an environment variable may set."""

    source: Path
    sections: Mapping[str, type[msgspec.Struct]]
    hidden: Mapping[str, str]

    def tables(self, raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Every value converted to its field's type, by section and key."""
        return {name: self._table(name, raw[name]) for name in raw}

    def _table(self, name: str, table: object) -> dict[str, Any]:
        if name not in self.sections:
            self._refuse(name, f"no such section; {_nearest(name, self.sections)}")
        if not isinstance(table, dict):
            self._refuse(name, f"{_shown(table)} is no table; write [{name}]")
        return {key: self._value(name, key, value) for key, value in table.items()}

    def _value(self, section: str, key: str, value: object) -> Any:
        struct = self.sections[section]
        dotted = f"{section}.{key}"
        if key in self.hidden and key in struct.__struct_fields__:
            self._refuse(
                dotted,
                "secrets don't belong in a file; delete the line and set "
                f"{self.hidden[key]} in the environment",
            )
        known = [field for field in struct.__struct_fields__ if field not in self.hidden]
        if key not in known:
            self._refuse(dotted, f"no such key; {_nearest(key, known)}")
        hint = typing.get_type_hints(struct, include_extras=True)[key]
        return self._converted(dotted, value, hint)

    def _converted(self, dotted: str, value: object, hint: Any) -> Any:
        kind = inspect.type_info(hint)
        try:
            made = msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            if _of_tables(kind):  # not shown: somebody may have written a key into it
                self._refuse(dotted, f"{error}; allowed: {allowed(kind)}")
            self._refuse(dotted, f"{_shown(value)} is not allowed; allowed: {allowed(kind)}")
        if isinstance(made, float) and not math.isfinite(made):
            self._refuse(dotted, f"{made} is not allowed; allowed: {allowed(kind)}")
        return made

    def _refuse(self, dotted: str, wrong: str) -> typing.NoReturn:
        raise SettingsError(f"{self.source}: {dotted}: {wrong}")


def allowed(kind: inspect.Type) -> str:
    """The values a field takes, in words: its type, and its range or its choices."""
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in kind.values)
    if isinstance(kind, inspect.BoolType):
        return "true, false"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        what = "an integer" if isinstance(kind, inspect.IntType) else "a number"
        low = f"above {kind.gt}, up to" if kind.gt is not None else f"from {kind.ge} to"
        return f"{what} {low} {kind.le}"
    if isinstance(kind, inspect.VarTupleType):
        bound = f"at most {kind.max_length}" if kind.max_length else f"at least {kind.min_length}"
        return f"a list of {bound}, each {allowed(kind.item_type)}"
    if isinstance(kind, inspect.StructType):
        return f"a table {{{', '.join(f'{field.name} = …' for field in kind.fields)}}}"
    if isinstance(kind, inspect.StrType):
        return _string(kind)
    raise TypeError(f"no words for {kind}")


def _of_tables(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType)


def _string(kind: inspect.StrType) -> str:
    if kind.pattern is not None:
        return f"a string matching {kind.pattern}"
    return f"a string of {kind.min_length or 0} to {kind.max_length} characters"


def _nearest(wrong: str, known: Collection[str]) -> str:
    match = difflib.get_close_matches(wrong, known, n=1)
    hint = f"did you mean {match[0]}? " if match else ""
    return f"{hint}allowed: {', '.join(known)}"


def _shown(value: object) -> str:
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "…"
    word = _WORDS.get(type(value), type(value).__name__)
    return f"{text} ({word})"
