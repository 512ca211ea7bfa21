"""Errors in the words of the form: a field is called by the label that stands on it, whatever the code calls it.

The labels are read out of the page itself, so what is said is always what stands there. Only pages that tell of an
error are read, and made a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser

from picluster.errors import Malformed, PiclusterError

HERE = {
    "ttl_s": "for",
    "ssh_public_keys": "keys",
    "on_reboot": "keep",
    "notices": "notice",
    "expires_in_s": "expires",
}
"""What forms call otherwise than requests do."""

LEGEND, AROUND = " legend", " around"
"""No id has a blank."""


def in_words_of(html: str, error: PiclusterError) -> PiclusterError:
    """The same error, with its fields called as the page calls them; one that the page does not have stays as it is."""
    if not isinstance(error, Malformed):
        return error
    labels, field = labels_in(html), str(error.details.get("field") or "")
    fields = error.details.get("fields")
    if isinstance(fields, Mapping):
        message = "; ".join(f"{_called(name, labels)}: {what}" for name, what in fields.items())
    elif field and error.message.startswith(f"{field}: "):
        message = _called(field, labels) + error.message.removeprefix(field)
    else:
        return error
    return Malformed(message, error.hint, **error.details)


def _called(field: str, labels: Mapping[str, str]) -> str:
    """`labels.'9 x'` as `Labels, '9 x'`; of a numbered one the number is left out, since the form has one field for all."""
    whole, dot, part = field.partition(".")
    name = whole.partition("[")[0]
    label = labels.get(HERE.get(name, name)) or labels.get(name)
    return f"{label}, {part}" if label and dot else label or field


def labels_in(html: str) -> dict[str, str]:
    """The label of each field of the forms in a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    by_id = {name: reader.labels.get(field_id, "") for name, field_id in reader.ids.items()}
    named = {**reader.legends, **{name: label for name, label in by_id.items() if label}}
    return {name: label for name, text in named.items() if (label := " ".join(text.split()))}


class _Reader(HTMLParser):
    """Labels by the id that they are for, fields by their id, and the legends or labels around them; without hints."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.legends: dict[str, str] = {}
        self._legend = ""
        self._around = ""
        """The label that a field stands in."""
        self._into: str | None = None
        """What is being read: `LEGEND`, `AROUND`, or the id that a label is for."""
        self._hint = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {key: value or "" for key, value in attrs}
        if tag == "span" and (self._hint or "hint" in said.get("class", "").split()):
            self._hint += 1
        elif tag == "fieldset":
            self._legend = ""
        elif tag in ("legend", "label"):
            self._into, self._around = said.get("for", LEGEND if tag == "legend" else AROUND), ""
        elif tag in ("input", "textarea", "select") and said.get("name"):
            self._field(said["name"], said)

    def _field(self, name: str, said: Mapping[str, str]) -> None:
        if said.get("id"):
            self.ids.setdefault(name, said["id"])
        elif self._legend or self._around:
            self.legends.setdefault(name, self._legend or self._around)

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self._hint:
            self._hint -= 1
        elif tag in ("legend", "label"):
            self._into = None
        elif tag == "fieldset":
            self._legend = ""

    def handle_data(self, data: str) -> None:
        if self._into is None or self._hint:
            return
        if self._into == LEGEND:
            self._legend += data
        elif self._into == AROUND:
            self._around += data
        else:
            self.labels[self._into] = self.labels.get(self._into, "") + data
