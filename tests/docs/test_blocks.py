"""Pages are read as they are written, and one that says something wrong is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import Typed, is_shown, read
from tests.docs.terminal import Terminal

PAGE = """# A page

- In a list:

  ```console
  $ echo one \\
  > two
  one two
  $ true
  ```

<!-- not run: nobody has
such a board -->
```console
$ reboot
```

```sh
picluster list
```
"""


@pytest.fixture
def terminal(home: Path, ports: dict[int, int]) -> Terminal:
    return Terminal(home, ports)


def test_what_is_typed_and_what_is_shown_is_told_apart() -> None:
    first, second, third = read(PAGE, "page.md")
    assert first.typed == (Typed("echo one \\\ntwo", "one two"), Typed("true"))
    assert (str(first), first.word) == ("page.md:5", "")
    assert (second.word, second.reason) == ("not run", "nobody has\nsuch a board")
    assert (third.kind, third.typed) == ("sh", ())


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ("NAME   STATE", "NAME STATE  \n\n"),
        ("pi-1  …  pi5", "pi-1  locked  ann  pi5\n"),
        ("pi-1  …  pi5", "pi-1  pi5\n"),
        ("since …, … left.", "since 3 s, 9 min left.\n"),
        ("…\nlast", "first\nsecond\nlast\n"),
        ("…\nlast", "last\n"),
    ],
)
def test_blanks_and_what_is_left_open_may_differ(shown: str, output: str) -> None:
    assert is_shown(shown, output)


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ("pi-1  free", "pi-1  locked\n"),
        ("pi-1  free", "pi-1  free\npi-2  free\n"),
        ("pi-1  free\npi-2  free", "pi-1  free\n"),
        ("pi-1 …", "pi-2 free\n"),
        ("…\nlast", "last\nand more\n"),
        ("a.c", "abc\n"),
    ],
)
def test_whatever_else_differs_is_noticed(shown: str, output: str) -> None:
    assert not is_shown(shown, output)


@pytest.mark.parametrize(
    "wrong",
    [
        "$ echo one\ntwo\n",
        "$ false\n",
        "$ echo 'picluster: no such machine'\npicluster: no such machine\n",
        "$ echo PICLUSTER_TOKEN=…\n",
    ],
    ids=["another output", "a failure", "no failure", "nothing to complete it with"],
)
def test_a_page_that_is_wrong_fails(terminal: Terminal, wrong: str) -> None:
    """Or the tests of all pages would hold for whatever they said."""
    (block,) = read(f"```console\n{wrong}```\n", "page.md")
    with terminal, pytest.raises(AssertionError):
        terminal.follow(block)


def test_a_terminal_keeps_what_was_set_and_completes_what_was_printed(terminal: Terminal) -> None:
    text = "$ cd /; here=$PWD\n$ echo key=4711\nkey=…\n$ export key=…\n$ echo $here $key\n/ 4711\n"
    (block,) = read(f"```console\n{text}```\n", "page.md")
    with terminal:
        terminal.follow(block)


def test_what_stays_open_is_there_until_ctrl_c(terminal: Terminal, home: Path) -> None:
    """As a service is: it may end in its own time, and is gone then."""
    script = "sh -c 'trap \"echo over >over; exit 0\" INT; echo begun; while :; do sleep 0.01; done'"
    text = f"<!-- stays open: yes -->\n```console\n$ {script}\nbegun\n```\n"
    after = "<!-- after Ctrl-C: it is over -->\n```console\n$ cat over\nover\n```\n"
    with terminal:
        for block in read(text + after, "page.md"):
            terminal.follow(block)
