"""JSON as the dataclasses of the wire. A newer service may say more than we know, an older one less."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

Reader = Callable[[Any], Any]


class Unreadable(ValueError):
    """The JSON has not the shape that was expected."""


def read(kind: type[T], value: Any) -> T:
    """`value`, as decoded from JSON, as a `kind`. Unknown keys are left out, unknown words stay text.

    Raises `Unreadable` when something needed is missing or of another shape.
    """
    shape: Any = kind
    thing: T = _reader(shape)(value)
    return thing


@cache
def _reader(kind: Any) -> Reader:
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (one for one in arguments if one is not types.NoneType)
        present = _reader(some)
        return lambda value: None if value is None else present(value)
    if origin in (tuple, list):
        item = _reader(arguments[0])
        return lambda value: origin(item(one) for one in _of(list, value))
    if origin is dict:
        item = _reader(arguments[1])
        return lambda value: {key: item(one) for key, one in _of(dict, value).items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = {member.value: member for member in kind}
        return lambda value: known.get(value, value)
    if kind is float:
        return lambda value: float(_of((int, float), value))
    return (lambda value: value) if kind is Any else lambda value: _of(kind, value)


def _dataclass_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {one.name: _reader(hints[one.name]) for one in fields(kind)}
    needed = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]

    def reader(value: Any) -> Any:
        said: Mapping[str, Any] = _of(dict, value)
        missing = [name for name in needed if name not in said]
        if missing:
            raise Unreadable(f"{kind.__name__} without {', '.join(missing)}")
        return kind(**{name: read(said[name]) for name, read in readers.items() if name in said})

    return reader


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Unreadable(f"{type(value).__name__} where something else was expected")
    return value
