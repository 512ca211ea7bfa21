"""`NamedTuple` without the module `typing`, which takes half a megabyte of the twenty that the agent may have."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class _Maker(type):
        """Fields from the annotations, defaults from the values, and the methods as they are."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            made = namedtuple(name, fields, defaults=[body[field] for field in fields if field in body])
            rest = {key: value for key, value in body.items() if key not in fields}
            return type(name, (made,), {**rest, "__slots__": ()})

    class NamedTuple(metaclass=_Maker):
        """As `typing.NamedTuple`, for classes in modules whose annotations are postponed."""


__all__ = ["NamedTuple"]
