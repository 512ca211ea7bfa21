"""What comes with a form: lengths of time, places to go on to, and what is never told back."""

from __future__ import annotations

from typing import cast

import pytest
from starlette.requests import Request

from picluster.errors import Malformed
from picluster.server.pages import forms
from picluster.server.pages.verbs import labels_from

NOBODY = cast(Request, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("90 s", 90),
        ("1d", 86_400),
        ("ever", None),
        ("", None),
    ],
)
def test_a_length_of_time(text: str, seconds: float | None) -> None:
    assert forms.duration(text) == seconds


@pytest.mark.parametrize("text", ["2", "h", "2x", "-1h", "1h 2", "0m", "2..h", "١h", "1e9h", "2hh"])
def test_what_is_no_length_of_time_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(Malformed) as refusal:
        forms.duration(text)
    assert refusal.value.details["field"] == "for" and "1h30m" in refusal.value.hint


@pytest.mark.parametrize(
    "where",
    ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", ""],
)
def test_a_form_goes_on_to_our_own_pages_only(where: str) -> None:
    form = forms.read([("next", where)])
    assert forms.back_to(NOBODY, form, "/queue") == "/queue"


def test_a_form_goes_on_to_where_it_came_from() -> None:
    assert forms.back_to(NOBODY, forms.read([("next", "/m/pi-1?q=a%20b")])) == "/m/pi-1?q=a%20b"


def test_what_was_typed_comes_back_but_no_secret() -> None:
    form = forms.read(
        [("job", "a b"), ("password", "geheim"), ("token", "pc_x"), ("next", "/"), ("for", "2h")]
    )
    assert forms.with_typed("/m/pi-1/lock", form) == "/m/pi-1/lock?job=a+b&for=2h"


def test_a_password_keeps_its_blanks() -> None:
    assert forms.read([("password", " geheim ")]).raw("password") == " geheim "


def test_labels_as_people_type_them() -> None:
    assert labels_from("rack:b camera  -old hat=relay") == {
        "rack": "b",
        "camera": "",
        "old": None,
        "hat": "relay",
    }
