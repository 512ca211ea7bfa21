"""Who gets in with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from picluster.errors import Malformed
from picluster.pool.model import Mode
from picluster.runner.keys import Access, access_of, public_key
from picluster.runner.ssh import fresh_key
from picluster.wire import LeasedMachine


def machine(mode: Mode) -> LeasedMachine:
    return LeasedMachine("pi-a", "10.0.0.1", "pi5", mode, True, (), "picluster", 22)


def test_a_lease_has_a_key_of_its_own_which_is_kept_to_itself() -> None:
    key, other = fresh_key(), fresh_key()
    assert key.public.startswith("ssh-ed25519 ") and key.public != other.public and "\n" not in key.public
    assert key.private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "PRIVATE" not in repr(Access(key, password="raspberry")) and "raspberry" not in repr(
        Access(key, password="raspberry")
    )


def test_the_leases_key_is_for_boards_that_enforce_and_the_users_ways_for_others() -> None:
    key = fresh_key()
    access = access_of({"RPI_USERNAME": "pi", "RPI_PASSWORD": "raspberry"}, key=key)
    assert (access.user_on(machine(Mode.ENFORCED)), access.key_for(machine(Mode.ENFORCED))) == (
        "picluster",
        key,
    )
    assert (access.user_on(machine(Mode.ADVISORY)), access.key_for(machine(Mode.ADVISORY))) == ("pi", None)


def test_a_flag_comes_before_the_environment_and_the_board_after_it() -> None:
    advisory = machine(Mode.ADVISORY)
    assert access_of({"RPI_USERNAME": "pi"}, user="ann").user_on(advisory) == "ann"
    assert access_of({}).user_on(advisory) == "picluster"


def test_a_public_key_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "id.pub"
    file.write_text("# mine\nssh-ed25519 AAAA ann@desk\n")
    assert public_key(file) == "ssh-ed25519 AAAA ann@desk"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "private key"),
        (b"ssh-ed25519 AAAA\nssh-ed25519 BBBB\n", "not one line"),
        (b"", "not one line"),
        (b"hello\n", "not one line"),
        (b"\xff\xfe\x00", "not text"),
        (None, "No such file"),
    ],
)
def test_what_is_no_public_key_is_not_sent_to_anybody(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "id"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Malformed, match=why) as refused:
        public_key(file)
    assert "id_ed25519.pub" in refused.value.hint
