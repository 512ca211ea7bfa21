"""The API as people look it up: its description, taken apart once into calls and shapes.

Two make pages of it: the service, at `/docs`, and `docs.generate`, in `docs/reference/http.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from picluster import wire
from picluster.errors import CommandFailed, MachineTrouble, PiclusterError, WaitedTooLong
from picluster.server.described import meanings_of
from picluster.store import StoreProblem

Json = Mapping[str, Any]

JSON = "application/json"
COMMON = "/api/v1/"
"""What every path begins with."""
NEVER_SENT = (MachineTrouble, CommandFailed, WaitedTooLong, StoreProblem)
"""Errors that the service does not answer: they are found out where they are raised."""


class Word(NamedTuple):
    """A piece of what a field is: words, or the name of a shape."""

    text: str
    shape: bool = False


Kind = tuple[Word, ...]
"""As in `list of LeaseAnswer`."""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a call, or a field of a shape."""

    name: str
    kind: Kind
    place: str = ""
    """Where it is sent: `path`, `query`, `header` or `body`."""
    required: bool = False
    usual: str | None = None
    """As JSON, what it is unless said; None where that says nothing."""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What has a name in bodies and answers: an object with its fields, or one of some words."""

    name: str
    says: str
    values: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One method at one path."""

    method: str
    path: str
    group: str
    says: str
    role: str
    """Which one needs at least; empty for none."""
    parameters: tuple[Field, ...]
    body: Kind
    """Empty where there is none."""
    answer: Kind
    """Empty where it is not JSON."""
    media_type: str
    status: str
    refusals: tuple[tuple[str, str], ...]
    """Statuses, and what they mean."""

    @property
    def title(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def short(self) -> str:
        """The path without what all begin with."""
        return "/" + self.path.removeprefix(COMMON)

    @property
    def anchor(self) -> str:
        """In an address, to point others at this call."""
        words = re.findall(r"\w+", self.short)
        return "-".join([self.method.lower(), *words])


@dataclass(frozen=True, slots=True)
class Refusal:
    """One `code` of an error."""

    code: str
    status: int
    says: str


@dataclass(frozen=True, slots=True)
class Reference:
    """All of it, in the order in which the service has it."""

    calls: tuple[Call, ...]
    shapes: Mapping[str, Shape]

    @property
    def groups(self) -> Mapping[str, list[Call]]:
        """Calls by what they are about."""
        found: dict[str, list[Call]] = {}
        for call in self.calls:
            found.setdefault(call.group, []).append(call)
        return found

    def body_of(self, call: Call) -> tuple[Field, ...]:
        """The fields that are sent with it."""
        fields = self.shapes[call.body[0].text].fields if call.body else ()
        return tuple(replace(field, place="body") for field in fields)

    @property
    def answers(self) -> list[Shape]:
        """Shapes that are more than the body of a call."""
        bodies = {word.text for call in self.calls for word in call.body}
        return [shape for name, shape in self.shapes.items() if name not in bodies]


def read(document: Json) -> Reference:
    """What an OpenAPI document of this service says."""
    calls = (
        _call(method, path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    )
    named = sorted(document["components"]["schemas"].items())
    return Reference(tuple(calls), {name: _shape(name, schema) for name, schema in named})


def refusals() -> list[Refusal]:
    """What the service may answer instead, by status."""
    found = [
        Refusal(cls.code, cls.status, (cls.__doc__ or "").splitlines()[0])
        for cls in errors_below(PiclusterError)
        if not issubclass(cls, NEVER_SENT)
    ]
    return sorted(found, key=lambda one: (one.status, one.code))


def errors_below(cls: type[PiclusterError]) -> Iterator[type[PiclusterError]]:
    """Those with a code of their own: others are their parents to whoever reads it, and tests have classes besides."""
    yield cls
    for child in cls.__subclasses__():
        if "code" in vars(child) and child.__module__.startswith("picluster."):
            yield from errors_below(child)


def _call(method: str, path: str, said: Json) -> Call:
    (status, done), *refused = said["responses"].items()
    roles = [role for needed in said.get("security", ()) for role in needed["token"]]
    return Call(
        method.upper(),
        path,
        said["tags"][0],
        one_line(said["description"]),
        "".join(roles),
        tuple(map(_parameter, said.get("parameters", ()))),
        kind_of(_json_in(said.get("requestBody", {}))),
        kind_of(_json_in(done)),
        next(iter(done.get("content", {})), ""),
        status,
        tuple((number, what["description"]) for number, what in refused),
    )


def _parameter(said: Json) -> Field:
    return Field(
        said["name"],
        kind_of(said["schema"]),
        said["in"],
        said.get("required", False),
        _usual(said["schema"]),
        one_line(said.get("description")),
    )


def _json_in(part: Json) -> Json:
    """The schema of a body as JSON; empty where it is something else."""
    return dict(part.get("content", {}).get(JSON, {}).get("schema", {}))


def _shape(name: str, schema: Json) -> Shape:
    fields = schema.get("properties", {})
    return Shape(
        name,
        one_line(schema.get("description")),
        tuple(schema.get("enum", ())),
        tuple(_fields(name, fields, schema.get("required", ()))),
    )


def _fields(shape: str, fields: Mapping[str, Json], required: Any) -> Iterator[Field]:
    meanings = meanings_of(getattr(wire, shape)) if hasattr(wire, shape) else {}
    for name, schema in fields.items():
        usual = None if name in required else _usual(schema)
        yield Field(name, kind_of(schema), "", name in required, usual, meanings.get(name, ""))


def _usual(schema: Json) -> str | None:
    return json.dumps(schema["default"]) if "default" in schema else None


def kind_of(schema: Json) -> Kind:
    """A schema in a few words; none for none."""
    if not schema:
        return ()
    if name := schema.get("$ref", "").rsplit("/", 1)[-1]:
        return (Word(name, shape=True),)
    if several := schema.get("anyOf"):
        first, *others = map(kind_of, several)
        return (*first, *(word for kind in others for word in (Word(" or "), *kind)))
    kind = schema.get("type", "anything")
    if kind == "array":
        return (Word("list of "), *(kind_of(schema.get("items", {})) or (Word("anything"),)))
    if kind == "object":
        values = schema.get("additionalProperties")
        return (Word("object of "), *kind_of(values)) if isinstance(values, dict) else (Word("object"),)
    return (Word(str(kind) + _range(schema)),)


def _range(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is not None and least is not None:
        return f", {least:g} to {most:g}" if most < 1e9 else f", {least:g} or more"
    return ""


def one_line(text: str | None) -> str:
    """A docstring without its line breaks."""
    return " ".join((text or "").split())
