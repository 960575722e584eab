"""The pages for the next owner say what the code says: every message, command, setting and link."""

from __future__ import annotations

import json
import re
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
import typer

from bus.sections import SECTIONS
from bus.wire import KINDS, lane_of
from ops.cli import app
from schemas import (
    Audio,
    CircuitState,
    Event,
    Kept,
    Message,
    Part,
    Report,
    RoundRow,
    SpeechMark,
    Stamp,
    ToolCall,
    Word,
)

ROOT = Path(__file__).resolve().parent.parent
BUS = (ROOT / "docs" / "bus.md").read_text()
README = (ROOT / "README.md").read_text()
FLEET_TOML = (ROOT / "config" / "fleet.toml").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
STRUCTS: tuple[type[msgspec.Struct], ...] = (
    *(Stamp, Word, Message, ToolCall, Part, RoundRow),
    *(SpeechMark, Kept, CircuitState),
)
COMMON = {Event: {"call", "turn"}, Audio: {"first", "rate", "pcm"}}
"""Fields of every message, and of every message with sound: told once."""


class Section(NamedTuple):
    """What docs/bus.md says of one message."""

    text: str
    fields: dict[str, tuple[str, str]]


def sections() -> dict[str, Section]:
    """Heading of level 3 or 4 in backticks → its text and its table (field → type, default)."""
    parts = re.split(r"^#{3,4} `([^`]+)`.*$", BUS, flags=re.MULTILINE)[1:]
    found = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        own = re.split(r"^#{1,4} ", text, maxsplit=1, flags=re.MULTILINE)[0]
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", own, flags=re.MULTILINE)
        found[name] = Section(own, {field: (kind, default) for field, kind, default in rows})
    return found


SECTIONS_OF_BUS = sections()


def type_word(hint: Any) -> str:
    """A field's type in the words of docs/bus.md."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_word(arguments[0])
    if origin is Literal:
        return "str: " + ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"array of {type_word(arguments[0])}"
    if origin is tuple:
        return f"array [{', '.join(map(type_word, arguments))}]"
    if origin is dict:
        return f"map of {type_word(arguments[0])} to {type_word(arguments[1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_word, arguments))
    if hint is type(None):
        return "nil"
    name: str = hint.__name__
    return str(KIND_OF.get(hint, name))


KIND_OF = {kind: name.decode() for name, kind in KINDS.items()}


def default_word(field: msgspec.inspect.Field) -> str:
    """A field's default as JSON, or "required"."""
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return json.dumps(field.default_factory())
    return json.dumps(field.default)


def fields_of(struct: type[msgspec.Struct]) -> dict[str, tuple[str, str]]:
    """Field → type and default, without what is told once for all messages."""
    hints = typing.get_type_hints(struct, include_extras=True)
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    told = {name for base, names in COMMON.items() if issubclass(struct, base) for name in names}
    return {
        field.name: (type_word(hints[field.name]), default_word(field))
        for field in info.fields
        if field.name not in told
    }


def test_no_message_is_missing_and_none_is_invented() -> None:
    known = {name.decode() for name in KINDS} | {struct.__name__ for struct in STRUCTS}
    assert SECTIONS_OF_BUS.keys() == known | {"Event", "Audio"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: str(KIND_OF[kind]))
def test_every_field_of_every_message_is_told(kind: type[Event]) -> None:
    section = SECTIONS_OF_BUS[KIND_OF[kind]]
    assert section.fields == fields_of(kind)
    assert "Since 0." in section.text
    assert re.search(r"From .+ to .+\.", section.text), "who sends, who hears"
    lane = "a door" if "a door" in section.text else lane_of(kind)
    assert f"Lane: {lane}" in section.text
    assert ("passes the fence" in section.text) is issubclass(kind, Report)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: str(struct.__name__))
def test_every_field_of_a_part_is_told(struct: type[msgspec.Struct]) -> None:
    assert SECTIONS_OF_BUS[struct.__name__].fields == fields_of(struct)


@pytest.mark.parametrize(("base", "names"), COMMON.items(), ids=("Event", "Audio"))
def test_what_all_have_in_common_is_told(base: type[Event], names: set[str]) -> None:
    assert SECTIONS_OF_BUS[base.__name__].fields.keys() == names


def test_every_command_is_in_the_readme() -> None:
    commands = set(typer.main.get_group(app).commands)
    missing = {name for name in commands if not re.search(rf"`bargein {name}\b", README)}
    assert not missing


def test_every_setting_is_explained_beside_its_value() -> None:
    """In a comment behind it or in the line before it; with its default, or its default's unit."""
    tables = tomllib.loads(FLEET_TOML)
    assert tables.keys() == SECTIONS.keys()
    lines = FLEET_TOML.splitlines()
    for section in tables:
        start = lines.index(f"[{section}]")
        for key in tables[section]:
            at = next(i for i in range(start, len(lines)) if re.match(rf"{key}\s*=", lines[i]))
            behind = re.search(r"\s{2,}#\s\S", lines[at])
            assert behind or lines[at - 1].startswith("# "), f"{section}.{key}"


def links(page: Path) -> Iterator[str]:
    """Relative targets of a page: [text](target), ![text](target), src="target"."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        where = target[0] or target[1]
        if not re.match(r"[a-z]+:", where):
            yield where


def anchors(page: Path) -> set[str]:
    """The anchors GitHub makes of a page's headings."""
    headings = re.findall(r"^#{1,6} (.+)$", page.read_text(), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
