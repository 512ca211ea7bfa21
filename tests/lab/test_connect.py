"""The way to a machine, by itself: whom it believes, what it says when it is not let in, and what it leaves behind."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from picluster.errors import ConnectionLost, NotLetIn, NotReached, TransferFailed, WrongHost
from picluster.pool.model import Mode
from picluster.runner.keys import Access
from picluster.runner.ssh import Reached, connect
from picluster.wire import LeasedMachine
from tests.lab.boards import ACCOUNT, Board, Key, Lab
from tests.lab.runs import running_on
from tests.service import PATIENCE_S, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-connect")]
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of somebody with a key, who has met nobody yet. For this process, as for any that they start."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".ssh").mkdir(mode=0o700)
    key = folder / ".ssh/id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield folder


@pytest.fixture(scope="module")
def board(lab: Lab, home: Path) -> Board:
    """One without an agent, that knows the key."""
    built = lab.board("alone", enforced=False)
    key = (home / ".ssh/id_ed25519.pub").read_text()
    built.run(["sh", "-c", "mkdir -p ~/.ssh && cat > ~/.ssh/authorized_keys"], ACCOUNT, input=key)
    return built


@pytest.fixture(scope="module")
def rsa(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Somebody else's key, of a kind that the board has none of."""
    file = tmp_path_factory.mktemp("rsa") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", file], check=True)
    return Path(f"{file}.pub").read_text().strip()


@pytest.fixture
def machine(board: Board) -> LeasedMachine:
    """As a lease would name it."""
    return LeasedMachine(
        board.name, board.address, "pi4", Mode.ADVISORY, True, (board.host_key,), ACCOUNT, 22
    )


def on(
    machine: LeasedMachine, do: Callable[[Reached], Awaitable[object]], access: Access | None = None
) -> object:
    """Connect, do it, and leave."""

    async def all_of_it() -> object:
        async with connect(machine, access or Access(), timeout_s=5) as reached:
            return await do(reached)

    return asyncio.run(all_of_it())


async def whoami(reached: Reached) -> str:
    said: list[bytes] = []
    assert await reached.run("whoami", on_output=lambda stream, piece: said.append(piece)) == 0
    return b"".join(said).decode().strip()


# Whom it believes


def test_the_key_that_the_pool_knows_is_believed_and_no_other(
    machine: LeasedMachine, lab: Lab, rsa: str
) -> None:
    assert on(machine, whoami) == ACCOUNT
    assert on(replace(machine, host_keys=("no key", rsa, *machine.host_keys)), whoami) == ACCOUNT
    for others in ((lab.key().public,), ("no key",)):
        with pytest.raises(WrongHost, match="another host key"):
            on(replace(machine, host_keys=others), whoami)
    with pytest.raises(NotReached):  # it has no key of this kind, and hangs up
        on(replace(machine, host_keys=(rsa,)), whoami)


def test_a_board_that_the_pool_has_no_key_of_is_believed_only_if_the_user_knows_it(
    machine: LeasedMachine, home: Path, rsa: str
) -> None:
    """And never because nobody knows better."""
    unknown, known = replace(machine, host_keys=()), home / ".ssh/known_hosts"
    with pytest.raises(WrongHost, match="knows no host key") as refused:
        on(unknown, whoami)
    assert f"ssh-keyscan {machine.address}" in refused.value.hint
    known.write_text(f"{machine.address} {machine.host_keys[0]}\n")
    assert on(unknown, whoami) == ACCOUNT
    known.write_text(f"{machine.address} {rsa}\n")
    with pytest.raises((WrongHost, NotReached)):
        on(unknown, whoami)


def test_what_the_pool_knows_counts_more_than_what_the_user_knows(
    machine: LeasedMachine, lab: Lab, home: Path
) -> None:
    (home / ".ssh/known_hosts").write_text(f"{machine.address} {machine.host_keys[0]}\n")
    with pytest.raises(WrongHost):
        on(replace(machine, host_keys=(lab.key().public,)), whoami)


# Why not


def test_who_is_not_let_in_is_told_what_was_tried(machine: LeasedMachine) -> None:
    with pytest.raises(NotLetIn, match="lets pi in with none of your keys\\.") as refused:
        on(machine, whoami, Access(user="pi"))
    assert "RPI_PASSWORD" in refused.value.hint


def test_a_board_that_is_not_there_is_told_as_that(machine: LeasedMachine) -> None:
    with pytest.raises(NotReached, match="port 9\\) could not be reached"):
        on(replace(machine, ssh_port=9), whoami)
    with pytest.raises(NotReached):
        on(replace(machine, address="10.77.0.250"), whoami)


# What it leaves behind


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_copy_that_is_stopped_in_the_middle_leaves_nothing(
    machine: LeasedMachine, board: Board, tmp_path: Path, way: str
) -> None:
    """Nobody waits for the rest of it, and the connection is good for whatever comes next."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    board.run(["sh", "-c", "truncate -s 1G ~/big"], ACCOUNT)

    async def stopped(reached: Reached) -> str:
        moving = asyncio.Event()
        async with reached.work_folder() as folder:
            copy = (
                reached.put(big, folder, lambda size: moving.set())
                if way == "there"
                else reached.get(["big"], f"/home/{ACCOUNT}", tmp_path / "back", lambda size: moving.set())
            )
            copying = asyncio.ensure_future(copy)
            await moving.wait()
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying
            return await whoami(reached)

    assert on(machine, stopped) == ACCOUNT
    until(lambda: not running_on(board, "tar -"))
    until(lambda: not list(board.file(f"/home/{ACCOUNT}").glob("picluster-*")))


def test_a_copy_to_where_one_may_not_write_says_so(machine: LeasedMachine, tmp_path: Path) -> None:
    with pytest.raises(
        TransferFailed, match=r"could not be copied to alone: .*(Permission denied|cannot create)"
    ):
        on(machine, lambda reached: reached.put(tmp_path, "/root/there"))


def test_what_cannot_be_read_there_is_told_and_what_is_missing_is_no_failure(
    machine: LeasedMachine, board: Board, tmp_path: Path
) -> None:
    board.run(
        ["sh", "-c", "mkdir -p ~/part; echo x > ~/part/ok; touch ~/part/no; chmod 0 ~/part/no"], ACCOUNT
    )
    with pytest.raises(TransferFailed, match="Permission denied"):
        on(machine, lambda reached: reached.get(["part"], f"/home/{ACCOUNT}", tmp_path))
    fetched = on(machine, lambda reached: reached.get(["part/ok", "nothing*"], f"/home/{ACCOUNT}", tmp_path))
    assert fetched == (["part/ok"], ["nothing*"])


def test_a_command_whose_connection_is_cut_is_ended_by_the_board(
    machine: LeasedMachine, board: Board
) -> None:
    """Nobody told it; the shell beside it has heard the silence."""

    async def cut(reached: Reached) -> object:
        begun = asyncio.Event()
        command = reached.run("echo; sleep 4323 & sleep 4323", on_output=lambda stream, piece: begun.set())
        running = asyncio.ensure_future(command)
        await begun.wait()
        assert len(running_on(board, "sleep 4323")) >= 2
        board.run(["pkill", "-KILL", "-f", f"sshd: {ACCOUNT}"])
        with pytest.raises(ConnectionLost, match="broke off"):
            await asyncio.wait_for(running, PATIENCE_S)
        return None

    on(machine, cut)
    until(lambda: not running_on(board, "sleep 4323"))


def test_a_command_of_plain_ssh_goes_on_without_anybody(board: Board, home: Path) -> None:
    """What the shell beside each of ours is for."""
    key = Key(home / ".ssh/id_ed25519", "")
    with board.session(key, "sleep 4324") as session:
        until(lambda: running_on(board, "sleep 4324"))
        session.kill()
    until(lambda: not running_on(board, f"sshd: {ACCOUNT}@"))
    assert running_on(board, "sleep 4324")
    board.run(["pkill", "-f", "sleep 4324"])


def test_somebody_who_does_not_listen_does_not_fill_our_memory(machine: LeasedMachine) -> None:
    """Output waits at the board for whoever is slow, and the command with it."""

    async def slowly(reached: Reached) -> int:
        heard, enough = 0, asyncio.Event()

        async def listen(stream: str, piece: bytes) -> None:
            nonlocal heard
            heard += len(piece)
            enough.set()
            await asyncio.sleep(3600)

        running = asyncio.ensure_future(reached.run("yes", on_output=listen))
        await enough.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return heard

    assert isinstance(size := on(machine, slowly), int) and size < 1 << 20
