"""Hypothesis strategies for everything that may be said on the bus, made from the types themselves."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from bus.wire import KINDS
from schemas import WIRE_VERSION, Event, Stamp

INT64 = 1 << 62
text = st.text(max_size=8)


def of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a msgspec type."""
    if isinstance(kind, inspect.IntType):
        low = -INT64 if kind.ge is None else kind.ge
        return st.integers(low, INT64 if kind.le is None else kind.le)
    if isinstance(kind, inspect.VarTupleType):
        return st.lists(of(kind.item_type), max_size=3).map(tuple)
    if isinstance(kind, inspect.TupleType):
        return st.tuples(*map(of, kind.item_types))
    if isinstance(kind, inspect.DictType):
        return st.dictionaries(of(kind.key_type), of(kind.value_type), max_size=3)
    if isinstance(kind, inspect.UnionType):
        return st.one_of(*map(of, kind.types))
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, inspect.StructType):
        return struct(kind.cls)
    return _PLAIN[type(kind)]


_PLAIN: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.BoolType: st.booleans(),
    inspect.FloatType: st.floats(allow_nan=False),
    inspect.StrType: text,
    inspect.BytesType: st.binary(max_size=8).map(lambda sound: sound + sound),
    inspect.NoneType: st.none(),
}


@cache
def struct(cls: type) -> st.SearchStrategy[Any]:
    """Instances of a struct, every field drawn."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return st.builds(cls, **{field.name: of(field.type) for field in info.fields})


def events(*kinds: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of these kinds; of all by default."""
    return st.one_of(*(struct(kind) for kind in kinds or KINDS.values()))


def stamps() -> st.SearchStrategy[Stamp]:
    """Stamps of this version."""
    return struct(Stamp).map(lambda stamp: msgspec.structs.replace(stamp, v=WIRE_VERSION))
