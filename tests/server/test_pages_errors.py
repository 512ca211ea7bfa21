"""What is wrong with what somebody typed is said in the words of the form, wherever it was found out."""

from __future__ import annotations

import pytest

from tests.server.conftest import Api, Board, Browser, words


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("{m}/label", {"labels": "state:free"}, "Labels: state is a word of the search itself"),
        ("{m}/label", {"labels": "'not closed"}, "Labels: a quote is not closed."),
        ("{m}/label", {"labels": "9x"}, "Labels, '9x': a key is a letter"),
        ("{m}/delete", {"retype": "x"}, "Type the machine's name: that is not the name of the machine."),
        ("{m}/drain", {}, "Why: say why it goes out of service Correct this field and ask again."),
        ("{m}/lock", {"for": "soon"}, "How long: 'soon' is no length of time."),
        ("{m}/lock", {"for": "1s"}, "How long: must be from 3 to"),
        ("{m}/wait", {"for": "99d"}, "How long, once it is yours: must be from 3 to"),
        ("/queue/wait", {"selector": ""}, "Which would do: say which machines would do."),
        ("/queue/wait", {"selector": "*", "count": "x"}, "How many: must be a whole number"),
        ("/queue/wait", {"selector": "*", "keys": "x"}, "Your SSH public key: is not one line"),
        ("/add/token", {"uses": "some"}, "Boards: a number of boards, from 1 to 1000."),
        ("/settings/tokens/new", {"kind": "join", "name": "x", "uses": "x"}, "Boards: must be a number"),
    ],
)
def test_a_field_is_called_by_its_label(
    board: Board, operator: Browser, path: str, fields: dict[str, str], told: str
) -> None:
    answer = operator.send(path.format(m=f"/m/{board.name}"), **fields)
    assert told.replace("'", "&#39;") in words(answer)
    assert answer.status_code == 400


def test_programs_are_told_by_the_names_of_the_api(api: Api, board: Board) -> None:
    refusal = api.patch(f"machines/{board.name}", {"service": "drained"})
    assert refusal.json()["error"]["fields"] == {"reason": "say why it goes out of service"}
