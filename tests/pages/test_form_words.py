"""What is wrong with a field is said by the label that stands on the form."""

from __future__ import annotations

import pytest

from picluster.errors import Conflict, Malformed
from picluster.server.pages.form_words import in_words_of, labels_in

FORM = """
<form><input name="q" value="search">
<label for="a-1">The same <b>again</b></label><input id="a-1" name="again" type="password">
<fieldset><legend>How long <span class="hint end">until <span>12:00</span> </span></legend>
<label><input type="radio" name="for" value="2h"><span>2 h</span></label></fieldset>
<label><span>From</span><input name="since" type="date"></label>
<label class="switch"><span><b>Keep it</b><span class="hint">Otherwise not.</span></span>
<input type="checkbox" name="keep"></label>
<label for="keys">Your key</label><textarea id="keys" name="keys"></textarea>
<label for="labels">Labels</label><input id="labels" name="labels">
<button name="go">Go</button></form>
"""


def test_labels_stand_before_around_or_above_their_fields() -> None:
    """Hints beside them are no part of them."""
    assert labels_in(FORM) == {
        "again": "The same again",
        "for": "How long",
        "since": "From",
        "keep": "Keep it",
        "keys": "Your key",
        "labels": "Labels",
    }


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Malformed("again: they differ.", field="again"), "The same again: they differ."),
        (Malformed("x", fields={"ttl_s": "too long"}), "How long: too long"),
        (
            Malformed("x", fields={"again": "too short", "ssh_public_keys[2]": "is no key"}),
            "The same again: too short; Your key: is no key",
        ),
        (Malformed("x", fields={"labels.'9 x'": "a key is a letter"}), "Labels, '9 x': a key is a letter"),
        (Malformed("elsewhere: is wrong", field="elsewhere"), "elsewhere: is wrong"),
        (Malformed("Nothing is said of a field.", field="again"), "Nothing is said of a field."),
        (Conflict("again: is no field here"), "again: is no field here"),
    ],
)
def test_a_field_is_called_as_the_form_calls_it(error: Malformed, told: str) -> None:
    """What the form does not have, and whatever is no complaint about a field, stays as it is."""
    said = in_words_of(FORM, error)
    assert said.message == told
    assert (said.hint, said.details, type(said)) == (error.hint, error.details, type(error))


def test_a_page_that_is_no_good_html_breaks_nothing() -> None:
    assert labels_in("<label for=a>A<input id=a name=b></fieldset></span><legend><p <") == {"b": "A"}
