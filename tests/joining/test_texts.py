"""What people copy onto boards and cards: it says the same in each form, and nothing in it escapes its quotes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from picluster import joining
from picluster.joining import Invitation

TOKEN = "pc_join_abc_def"
PLAIN = Invitation("https://lab.example", TOKEN)
ODD = Invitation(
    "https://a.example,https://b.example/pool", TOKEN, "it's pi", 'camera,note="$(reboot)" `x` \\ %s', True
)
"""All that a person could say, with all that a shell could make of it."""
SHELLCHECK = Path(sys.executable).parent / "shellcheck"

needs_cloud_init = pytest.mark.skipif(
    not shutil.which("cloud-init"), reason="needs the Debian package cloud-init"
)


def shell_words(text: str, after: str) -> list[str]:
    """Of the command that begins so, as a shell reads them."""
    [line] = [line.strip() for line in text.splitlines() if after in line]
    return shlex.split(line.partition(after)[2])


# One line


def test_one_line_is_short_for_a_plain_board() -> None:
    expected = f"curl -fsSL https://lab.example/install.sh | sudo sh -s -- --token {TOKEN}\n"
    assert joining.one_line(PLAIN) == expected


def test_plain_http_says_so_itself() -> None:
    """Whoever copies it has been told, and can see it in what they type."""
    assert joining.one_line(Invitation("http://lab:1337", TOKEN)).endswith(" --insecure\n")


def test_a_service_below_a_path_is_named() -> None:
    """The script knows the host it is from, and no more."""
    assert "--url https://lab/pool" in joining.one_line(Invitation("https://lab/pool", TOKEN))


def test_what_a_person_said_reaches_the_installer_as_it_is() -> None:
    assert shell_words(joining.one_line(ODD), "sh -s -- ") == [
        *("--token", TOKEN),
        *("--url", ODD.url),
        *("--name", ODD.name),
        *("--labels", ODD.labels),
        "--enforce",
    ]


# Cards


@pytest.mark.parametrize("to", [PLAIN, ODD], ids=["plain", "odd"])
def test_both_cards_have_the_same_script(to: Invitation) -> None:
    script = joining.first_boot_script(to)
    assert script in joining.firstrun(to)
    lines = joining.user_data(to).splitlines()
    assert all(f"      {line}".rstrip() in lines for line in script.splitlines())


def test_the_token_is_on_no_command_line() -> None:
    """A card's script hands it over in the environment, which only root can read."""
    words = shell_words(joining.first_boot_script(ODD), "sh /run/picluster-install.sh ")
    assert words == ["--url", ODD.url, "--name", ODD.name, "--labels", ODD.labels, "--enforce"]


@pytest.mark.parametrize("field", ["token", "name", "labels"])
@pytest.mark.parametrize("bad", ["a\nb", "\0", "\x1b[2J", "x\u2028y"])
def test_a_line_that_is_two_is_told_to_no_board(field: str, bad: str) -> None:
    with pytest.raises(ValueError, match="one line each"):
        Invitation(**{"url": "https://lab", "token": TOKEN, field: bad})


@pytest.mark.parametrize("labels", ["state=free", "camera,Name=zzz", " tag "])
def test_a_label_that_searches_take_for_something_else_is_told_to_no_board(labels: str) -> None:
    with pytest.raises(ValueError, match="is a word of the search itself"):
        Invitation("https://lab", TOKEN, labels=labels)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "lab",
        "ftp://lab",
        "https://",
        "https://lab;x",
        "https://lab/$(x)",
        "https://a,",
        "https://a b",
        "https://a?q",
    ],
)
def test_what_is_no_address_is_told_to_no_board(url: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Invitation(url, TOKEN)


@needs_cloud_init
@pytest.mark.parametrize("to", [PLAIN, ODD], ids=["plain", "odd"])
def test_cloud_init_takes_the_card_of_trixie(to: Invitation, tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(joining.user_data(to))
    said = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(file)], capture_output=True, text=True
    )
    assert said.returncode == 0 and said.stdout.startswith("Valid"), said.stdout + said.stderr


@needs_cloud_init
def test_cloud_init_does_not_take_just_anything(tmp_path: Path) -> None:
    """The check above can fail."""
    file = tmp_path / "user-data"
    file.write_text(joining.user_data(PLAIN).replace("permissions:", "permission:"))
    assert subprocess.run(
        ["cloud-init", "schema", "--config-file", str(file)], capture_output=True
    ).returncode


def test_the_card_of_bookworm_writes_what_it_should(tmp_path: Path) -> None:
    """Run for real, in a folder in the place of the board: the script for root alone, the unit linked, itself gone."""
    (tmp_path / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
    boot = tmp_path / "boot/firmware"
    boot.mkdir(parents=True)
    (boot / "cmdline.txt").write_text(f"console=tty1 root=/dev/x rootwait {joining.CMDLINE}\n")
    there = re.sub(r"(?<![\w/])/(etc|boot)/", rf"{tmp_path}/\1/", joining.firstrun(ODD))
    (boot / "firstrun.sh").write_text(there)
    subprocess.run(["bash", str(boot / "firstrun.sh")], check=True)

    script = tmp_path / "etc/picluster/first-boot.sh"
    assert script.stat().st_mode & 0o777 == 0o600
    assert TOKEN in script.read_text() and ODD.url in script.read_text()
    unit = tmp_path / "etc/systemd/system/picluster-join.service"
    assert "ExecStart=/bin/sh" in unit.read_text()
    assert (unit.parent / "multi-user.target.wants/picluster-join.service").readlink() == unit
    assert not (boot / "firstrun.sh").exists()
    assert (boot / "cmdline.txt").read_text() == "console=tty1 root=/dev/x rootwait\n"


# The installer


def test_the_installer_has_the_units_in_it() -> None:
    script = joining.install_script("https://lab", "d1")
    for unit in ("picluster-agent.service", "picluster-agent-enforced.service"):
        assert joining.text(unit).rstrip() in script
    assert "@picluster" not in script
    assert "served_url='https://lab'\n" in script and "served_sha256='d1'\n" in script


@pytest.mark.parametrize(
    "url", ["", "lab", "https://lab'", "https://lab/x", "file:///etc/passwd", "https://lab\n"]
)
def test_it_names_no_service_that_is_none(url: str) -> None:
    assert joining.install_script(url, "d1") == joining.install_script()


@pytest.mark.parametrize(
    "script",
    [joining.install_script("https://lab", "d1"), joining.first_boot_script(ODD), joining.firstrun(ODD)],
    ids=["install.sh", "first-boot.sh", "firstrun.sh"],
)
def test_shellcheck_has_nothing_to_say(script: str, tmp_path: Path) -> None:
    file = tmp_path / "script.sh"
    file.write_text(script)
    said = subprocess.run([SHELLCHECK, str(file)], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")
