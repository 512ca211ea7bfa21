"""Webhooks on the command line: made, tried, paused and removed, without their addresses in any listing."""

from __future__ import annotations

from itertools import count

from picluster.cli.webhooks import NOTICES
from picluster.wire import WebhookRequest
from tests.cli.conftest import Shell
from tests.ports import free_port

NOWHERE = "https://chat.invalid/services/hidden"
"""A name that no network knows: nobody is called by these tests."""

_numbers = count(1)


def added(sh: Shell, options: str = "") -> str:
    """A new webhook; its name."""
    name = f"room-{next(_numbers)}"
    made = sh(f"webhooks add {name} {NOWHERE} {options}")
    assert made.exit_code == 0, made.stderr
    return name


def test_a_webhook_has_a_life(sh: Shell) -> None:
    name = added(sh, "--kind slack --notice machine.lost")
    line = next(line for line in sh("webhooks list").stdout.splitlines() if line.startswith(name))
    assert (
        "https://chat.invalid" in line and "machine.lost" in line and line.split()[-3:] == ["well", "0", "0"]
    )
    assert sh(f"webhooks pause {name}").exit_code == 0
    assert "paused" in sh("webhooks list").stdout
    assert sh(f"webhooks resume {name}").exit_code == 0
    assert sh(f"webhooks remove {name.upper()}").stderr == f"The webhook {name} is gone.\n"
    assert name not in sh("webhooks list").stdout


def test_what_a_program_checks_is_printed_once(sh: Shell) -> None:
    """On stdout alone, so that a script can keep it; and no listing has it, nor the address."""
    name = f"room-{next(_numbers)}"
    made = sh(f"webhooks add {name} - -q", input=f"{NOWHERE}\n")
    assert made.stdout.startswith("whsec_") and made.stdout.count("\n") == 1
    everything = sh("webhooks list -o json").stdout + sh("history -o json").stdout
    assert name in everything
    assert made.stdout.strip() not in everything and "hidden" not in everything


def test_a_chat_room_has_nothing_to_check(sh: Shell) -> None:
    made = sh(f"webhooks add room-{next(_numbers)} {NOWHERE} --kind teams")
    assert made.stdout == "" and "try it: picluster webhooks test" in made.stderr


def test_an_address_is_changed_without_being_seen(sh: Shell) -> None:
    """From stdin, as it may be a secret; what is not said stays as it is."""
    name = added(sh, "--notice machine.lost")
    changed = sh(f"webhooks change {name} --address -", input="https://other.invalid/services/hidden\n")
    assert changed.exit_code == 0 and f"picluster webhooks test {name}" in changed.stderr
    line = next(line for line in sh("webhooks list").stdout.splitlines() if line.startswith(name))
    assert "https://other.invalid" in line and "machine.lost" in line
    assert sh(f"webhooks change {name} --notice everything").exit_code == 0
    line = next(line for line in sh("webhooks list").stdout.splitlines() if line.startswith(name))
    assert "everything" in line


def test_a_secret_is_renewed_and_printed_once(sh: Shell) -> None:
    renewed = sh(f"webhooks change {added(sh)} --renew-secret -q")
    assert renewed.stdout.startswith("whsec_") and renewed.stdout.count("\n") == 1
    assert renewed.stdout.strip() not in sh("webhooks list -o json").stdout + sh("history -o json").stdout


def test_a_change_of_nothing_is_a_mistake(sh: Shell) -> None:
    refused = sh(f"webhooks change {added(sh)}")
    assert refused.exit_code == 2 and "--renew-secret" in refused.stderr


def test_a_message_that_does_not_arrive_is_an_error(sh: Shell) -> None:
    """Here because nobody listens there."""
    assert sh(f"webhooks add deaf http://127.0.0.1:{free_port()}/ -q").exit_code == 0
    tried = sh("webhooks test deaf")
    assert tried.exit_code == 1 and "deaf: no connection" in tried.stderr
    assert sh("webhooks test nobody").exit_code == 3


def test_private_addresses_are_refused_with_the_way_out(sh: Shell) -> None:
    refused = sh("webhooks add inside http://10.0.0.1/hook")
    assert refused.exit_code == 2 and "PICLUSTER_WEBHOOK_NETWORKS" in refused.stderr


def test_only_admins_have_webhooks(sh: Shell) -> None:
    token = sh("token create op-of-hooks --role operator -q").stdout.strip()
    assert sh("webhooks list", token).exit_code == 4


def test_the_notices_that_can_be_typed_are_those_there_are() -> None:
    """A help text must not load what `wire` needs."""
    assert NOTICES == WebhookRequest.NOTICES
