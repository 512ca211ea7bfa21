"""Which service, and who asks: addresses of every shape, and which setting wins."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from picluster.client import where
from picluster.errors import Malformed


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a login would be kept."""
    kept = tmp_path / "config" / "login.json"
    monkeypatch.setenv("PICLUSTER_CONFIG", str(kept))
    return kept


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("lab", "http://lab:1337"),
        ("lab:80", "http://lab:80"),
        ("lab/api", "http://lab:1337"),
        ("lab:1337/api/", "http://lab:1337"),
        ("http://lab:1337/api/", "http://lab:1337"),
        ("http://lab:1337/api/v1", "http://lab:1337"),
        ("http://lab:1337", "http://lab:1337"),
        ("http://lab", "http://lab"),
        ("HTTPS://Lab/", "https://lab"),
        ("https://lab.example/pis/api/", "https://lab.example/pis"),
        ("192.168.1.7", "http://192.168.1.7:1337"),
        ("[fe80::1]", "http://[fe80::1]:1337"),
        ("[::1]:80", "http://[::1]:80"),
        ("http://[::1]/api", "http://[::1]"),
        (" lab ", "http://lab:1337"),
    ],
)
def test_an_address_may_have_any_shape(said: str, meant: str) -> None:
    assert where.addresses(said) == (meant,)


def test_several_addresses_keep_their_order() -> None:
    assert where.addresses("b, https://a/api/,,c:1") == ("http://b:1337", "https://a", "http://c:1")


@pytest.mark.parametrize(
    "said",
    ["", ",", "ftp://lab", "http://", "lab:port", "lab:99999", "my lab", "::1", "http://[::1", "a\x00"],
)
def test_what_is_no_address_is_said_to_be_none(said: str) -> None:
    with pytest.raises(Malformed, match="is no address of a service"):
        where.addresses(said)


def test_what_was_said_wins_then_the_new_words_then_the_old_ones_then_the_login(file: Path) -> None:
    def found(said: str | None = None, **environ: str) -> str:
        return where.find(said, environ=environ | {"PICLUSTER_CONFIG": str(file)}).addresses[0]

    where.write_login("http://stored", "t")
    assert found("said", PICLUSTER_URL="new", RPI_CLUSTER="old") == "http://said:1337"
    assert found(PICLUSTER_URL="new", RPI_CLUSTER="old") == "http://new:1337"
    assert found(RPI_CLUSTER="http://old:1337/api/") == "http://old:1337"
    assert found() == "http://stored"


def test_a_token_comes_the_same_way_and_the_stored_one_only_to_its_own_service(file: Path) -> None:
    def token(url: str | None, said: str | None = None, **environ: str) -> str:
        return where.find(url, said, environ=environ | {"PICLUSTER_CONFIG": str(file)}).token

    where.write_login("http://lab:1337", "stored")
    assert token("lab", "said", PICLUSTER_TOKEN="new", RPI_APIKEY="old") == "said"
    assert token("lab", PICLUSTER_TOKEN="new", RPI_APIKEY="old") == "new"
    assert token("lab", RPI_APIKEY="old") == "old"
    assert token("lab/api/") == "stored"
    assert token(None) == "stored"
    assert token("elsewhere") == ""
    assert token("lab", "") == ""


def test_nobody_named_says_how_to_name_one(file: Path) -> None:
    with pytest.raises(Malformed) as refused:
        where.find(environ={"PICLUSTER_CONFIG": str(file)})
    assert "PICLUSTER_URL" in refused.value.hint


def test_a_token_loses_what_pasting_added() -> None:
    assert where.find("lab", " secret\r\n", environ={}).token == "secret"
    assert where.find("lab", "schlüssel", environ={}).token == "schlüssel"


@pytest.mark.parametrize("token", ["a\nb", "ключ", "a\x00", "\udcff"])
def test_a_token_that_no_header_carries_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(Malformed) as refused:
        where.find("lab", token, environ={})
    assert token not in str(refused.value)


def test_the_name_of_the_user_travels_whole() -> None:
    """Blanks at its ends and emoji included: a header alone would lose them."""
    asking = where.find("lab", "key", " ann 🍓\udcff", environ={})
    assert asking.headers[where.USER_HEADER] == "%20ann%20%F0%9F%8D%93%FF"
    assert where.USER_HEADER not in where.find("lab", "", "ann", environ={}).headers


def test_the_user_is_said_or_set_or_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "login-name")
    assert where.find("lab", "k", "said", environ={"PICLUSTER_USER": "set"}).user == "said"
    assert where.find("lab", "k", environ={"PICLUSTER_USER": "set"}).user == "set"
    assert where.find("lab", "k", environ={}).user == "login-name"


def test_a_computer_without_users_has_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert where.user_name() == "nobody"


def test_a_login_is_kept_for_this_user_alone(file: Path) -> None:
    """Also when an older file could be read by everybody."""
    file.parent.mkdir()
    file.write_text("{}")
    file.chmod(0o644)
    old = os.umask(0)
    try:
        assert where.write_login("http://lab", "secret") == file
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"url": "http://lab", "token": "secret"}
    assert [one.name for one in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("damage", ["", "{", "\x00\x01"])
def test_a_damaged_login_is_told_and_not_needed_by_who_says_all(file: Path, damage: str) -> None:
    file.parent.mkdir()
    file.write_text(damage)
    with pytest.raises(Malformed) as refused:
        where.find(environ={"PICLUSTER_CONFIG": str(file)})
    assert "picluster login" in refused.value.hint
    everything = {"PICLUSTER_CONFIG": str(file), "PICLUSTER_URL": "lab", "PICLUSTER_TOKEN": "t"}
    assert where.find(environ=everything).token == "t"


def test_a_login_that_is_no_object_is_none(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("[1]")
    assert where.read_login() == {}


def test_without_a_word_the_login_is_in_the_users_own_folder() -> None:
    assert where.login_file({}).parts[-2:] == ("picluster", "login.json")
