"""Joining: one join token in, a token of the board's own and its settings out, as often as somebody asks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from picluster.agent import cli, join
from tests.agent.stub import Act, Stub, answers, hangs_up, says
from tests.agent.trees import BOOT_ID, ED25519, PI5, plant

JOIN_TOKEN = "pc_join_1_letmein"
OWN_TOKEN = "pc_agent_7_own"
WELCOME = {"machine": "pi5-a", "token": OWN_TOKEN, "service": "in_service", "reason": ""}
NOT_THERE = "http://127.0.0.1:1"


def refuses(status: int, message: str, hint: str = "") -> Act:
    return answers(status, {"error": {"code": "x", "message": message, "hint": hint}})


WORKS = refuses(400, "body: a report is needed")
"""What a service says to a beat that says nothing, by a board that it knows."""
UNKNOWN = refuses(401, "No such token.")


class Board:
    """A Pi 5 in a folder, and what its agent said last."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capfd = capfd
        plant(root, PI5)
        self.said = ""

    def join(self, service: Stub | str, *arguments: str, token: str = JOIN_TOKEN, **environ: str) -> int:
        url = service if isinstance(service, str) else str(service.address)
        given = ["--join", token] if token else []
        code = cli.main(["--root", str(self.root), "--url", url, *given, *arguments], environ)
        self.said = self._capfd.readouterr().err
        return code

    def read(self, name: str) -> str:
        return (self.root / "etc/picluster" / name).read_text()

    @property
    def has_token(self) -> bool:
        return (self.root / "etc/picluster/token").exists()


@pytest.fixture
def board(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Board:
    return Board(tmp_path, capfd)


@pytest.fixture
def willing() -> Iterator[Stub]:
    with Stub(answers(201, WELCOME)) as service:
        yield service


# The first time


def test_a_board_says_who_it_is_and_keeps_what_it_gets(board: Board, willing: Stub) -> None:
    """One request with the join token; then the token of its own, and the settings, are in their files."""
    assert board.join(willing) == join.JOINED
    [asked] = willing.requests
    assert asked.line == "POST /api/v1/join HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {JOIN_TOKEN}"
    assert asked.body == {
        "name": "pi5-a",
        "id": "serial:b03b5cbbaa3f0000",
        "address": "127.0.0.1",
        "boot_id": BOOT_ID,
        "host_keys": [ED25519],
    }
    assert board.read("token") == f"{OWN_TOKEN}\n"
    assert board.read("agent.conf") == f"PICLUSTER_URL={willing.address}\nPICLUSTER_NAME=pi5-a\n"
    assert board.said == f"joined as pi5-a at {willing.address}: in service\n"


def test_the_token_is_for_root_alone_and_the_settings_for_all(board: Board, willing: Stub) -> None:
    """The agent of an advisory board runs as somebody else, and gets the token from systemd. Also with an odd umask."""
    before = os.umask(0)
    try:
        board.join(willing)
    finally:
        os.umask(before)
    folder = board.root / "etc/picluster"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"token": 0o600, "agent.conf": 0o644}


def test_neither_token_is_said(board: Board, willing: Stub) -> None:
    board.join(willing, "--verbose")
    assert JOIN_TOKEN not in board.said and OWN_TOKEN not in board.said


def test_the_service_has_the_last_word_on_the_name(board: Board) -> None:
    """Two boards of one image have one host name; the agent has to beat under the name that it got."""
    with Stub(answers(201, {**WELCOME, "machine": "pi5-a-2"})) as service:
        board.join(service)
        assert "PICLUSTER_NAME=pi5-a-2\n" in board.read("agent.conf")


def test_a_chosen_name_is_asked_for(board: Board, willing: Stub) -> None:
    board.join(willing, "--name", "camera rig")
    assert willing.requests[0].body["name"] == "camera-rig"


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("pending", "", "pending, until a person approves it"),
        ("pending", "joined with m", "pending, until a person approves it (joined with m)"),
        ("attention", "its id is known as pi-9", "attention (its id is known as pi-9)"),
        ("in_service", None, "in service"),
    ],
)
def test_a_board_that_is_not_in_service_says_why(board: Board, state: str, reason: str, said: str) -> None:
    with Stub(answers(201, {**WELCOME, "service": state, "reason": reason})) as service:
        assert board.join(service) == join.JOINED
        assert board.said.endswith(f": {said}\n")


@pytest.mark.parametrize("way", ["flag", "file", "environment"])
def test_a_join_token_need_not_be_seen_by_others(
    board: Board, willing: Stub, tmp_path: Path, way: str
) -> None:
    """A command line is read by everybody on the board; a file and the environment are not."""
    (tmp_path / "jt").write_text(f"{JOIN_TOKEN}\n")
    if way == "flag":
        board.join(willing)
    elif way == "file":
        board.join(willing, "--join-file", str(tmp_path / "jt"), token="")
    else:
        board.join(willing, token="", PICLUSTER_JOIN_TOKEN=JOIN_TOKEN)
    assert willing.requests[0].headers["authorization"] == f"Bearer {JOIN_TOKEN}"


def test_what_an_unencrypted_service_means_is_said(board: Board) -> None:
    assert board.join("http://lab.invalid") == join.AWAY
    assert "not encrypted" in board.said


# Again


def test_a_board_that_has_joined_stays_as_it_is(board: Board, willing: Stub) -> None:
    """It asks with a beat that says nothing whether its token works, and a used up join token does no harm."""
    board.join(willing)
    with Stub(WORKS) as later:
        assert board.join(later) == join.JOINED
        [asked] = later.requests
    assert (asked.line, asked.body) == ("POST /api/v1/machines/pi5-a/beat?wait=0 HTTP/1.1", {})
    assert asked.headers["authorization"] == f"Bearer {OWN_TOKEN}"
    assert board.read("token") == f"{OWN_TOKEN}\n" and "already" in board.said


def test_new_settings_are_kept_even_so(board: Board, willing: Stub) -> None:
    board.join(willing, "--labels", "rack=a")
    with Stub(WORKS) as later:
        board.join(later, "--labels", "rack=b,camera")
        assert board.read("agent.conf").splitlines() == [
            "PICLUSTER_LABELS=rack=b,camera",
            f"PICLUSTER_URL={later.address}",
            "PICLUSTER_NAME=pi5-a",
        ]


def test_where_things_are_kept_is_remembered_too(
    board: Board, willing: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the agent would look for its token where none is; and it may start in another folder."""
    monkeypatch.chdir(tmp_path)
    assert board.join(willing, "--token-file", "own/token", "--state", "own/state") == join.JOINED
    assert (tmp_path / "own/token").read_text() == f"{OWN_TOKEN}\n"
    assert board.read("agent.conf").splitlines()[:2] == [
        f"PICLUSTER_TOKEN_FILE={tmp_path}/own/token",
        f"PICLUSTER_STATE={tmp_path}/own/state",
    ]
    assert not board.has_token


def test_a_board_that_the_service_has_forgotten_joins_anew(board: Board, willing: Stub) -> None:
    board.join(willing)
    with Stub(UNKNOWN, answers(201, {**WELCOME, "token": "pc_agent_8_new"})) as later:
        assert board.join(later) == join.JOINED
    assert board.read("token") == "pc_agent_8_new\n"


def test_again_means_a_new_token(board: Board, willing: Stub) -> None:
    board.join(willing)
    board.join(willing, "--again")
    assert [asked.line.split()[1] for asked in willing.requests] == ["/api/v1/join"] * 2


def test_a_board_with_a_token_is_left_alone_while_the_service_is_away(board: Board, willing: Stub) -> None:
    board.join(willing)
    assert board.join(NOT_THERE) == join.AWAY
    assert board.read("token") == f"{OWN_TOKEN}\n" and NOT_THERE not in board.read("agent.conf")


def test_what_a_person_wrote_into_the_settings_stays(board: Board, willing: Stub) -> None:
    """Comments, other settings and their order; ours are replaced where they stand, and doubles go."""
    old = "# of Ann\nPICLUSTER_NAME=pi5-a\n\nPICLUSTER_VCGENCMD=1\nPICLUSTER_URL=http://old\n#PICLUSTER_URL=x\nPICLUSTER_URL=y"
    plant(board.root, {"etc/picluster/agent.conf": old})
    board.join(willing)
    assert board.read("agent.conf").splitlines() == [
        "# of Ann",
        "PICLUSTER_NAME=pi5-a",
        "",
        "PICLUSTER_VCGENCMD=1",
        f"PICLUSTER_URL={willing.address}",
        "#PICLUSTER_URL=x",
    ]


def test_a_setting_is_one_line_whatever_is_in_it() -> None:
    assert join.with_settings("", {"A": "x\nB=y"}) == "A=x B=y\n"


# What goes wrong


def test_a_refusal_is_said_in_the_words_of_the_service(board: Board) -> None:
    """With the exit code of a refusal: asking again will not help, a person has to do something."""
    with Stub(refuses(401, "This join token is used up.", "Make another: picluster join.")) as service:
        assert board.join(service) == join.REFUSED
        expected = "answers 401: This join token is used up. Make another: picluster join."
        assert board.said == f"{service.address} {expected}\n"
    assert not board.has_token


@pytest.mark.parametrize(
    ("act", "code", "said"),
    [
        (refuses(503, "Not now."), join.AWAY, "answers 503: Not now."),
        (refuses(429, "Too many."), join.AWAY, "answers 429: Too many."),
        (hangs_up, join.AWAY, "closed the connection"),
        (says(b"SSH-2.0-x\r\n\r\n", False), join.AWAY, "does not speak HTTP"),
        (answers(404, b"<html>"), join.REFUSED, "not in the words of a picluster service"),
        (answers(301, b"", Location="https://lab/x"), join.REFUSED, "give --url what 'https://lab/x'"),
        (answers(201, b"<html>"), join.FAILED, "not a picluster service"),
        (answers(201, {**WELCOME, "machine": "../x"}), join.FAILED, "not a picluster service"),
        (answers(201, {**WELCOME, "machine": 7}), join.FAILED, "not a picluster service"),
        (answers(201, {**WELCOME, "token": "a b"}), join.FAILED, "without a token"),
        (answers(201, {**WELCOME, "token": ""}), join.FAILED, "without a token"),
    ],
)
def test_no_answer_writes_half_a_board(board: Board, act: Act, code: int, said: str) -> None:
    with Stub(act) as service:
        assert board.join(service) == code
    assert said in board.said
    assert not (board.root / "etc/picluster").exists()


def test_the_next_address_when_the_first_is_gone(board: Board, willing: Stub) -> None:
    """And both are kept: the agent will try them in turn, too."""
    assert board.join(f"{NOT_THERE},{willing.address}") == join.JOINED
    assert f"PICLUSTER_URL={NOT_THERE},{willing.address}\n" in board.read("agent.conf")


@pytest.mark.parametrize("token", ["two words", "naïve", "x\r\nHost: y"])
def test_what_is_no_token_is_not_sent(board: Board, willing: Stub, token: str) -> None:
    assert board.join(willing, token=token) == join.REFUSED
    assert not willing.requests


def test_a_file_that_is_not_there(board: Board, willing: Stub) -> None:
    assert board.join(willing, "--join-file", "/nowhere/jt", token="") == cli.USAGE
    assert "/nowhere/jt: No such file" in board.said


def test_a_board_that_cannot_write_says_where(board: Board, willing: Stub) -> None:
    (board.root / "etc/picluster").symlink_to("/proc/1/nowhere")
    assert board.join(willing) == join.FAILED
    assert "joined, but that cannot be written down" in board.said


def test_a_board_without_identity_cannot_join(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", str(tmp_path), "--url", "lab", "--join", JOIN_TOKEN], {}) == cli.USAGE
    assert "no name or no identity" in capfd.readouterr().err
