"""Who may do what: every role at every kind of endpoint, the shared key, tokens that are over, and guessing."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from picluster.errors import NotAuthenticated
from picluster.pool.model import Role, Token
from picluster.server.access.credentials import digest, new_secret
from picluster.server.access.gate import WRONG_KEYS_PER_MINUTE, Gate
from picluster.server.view import View
from tests.server.conftest import Api, Board, fresh_lease, words
from tests.service import ADMIN, KEY, ServiceProcess, on_sqlite, service

PASSWORD = "correct horse battery"

PRINCIPALS = ("viewer", "user", "operator", "admin", "agent", "join", "nobody", "legacy")
READERS = {"viewer", "user", "operator", "admin", "legacy"}
USERS = READERS - {"viewer"}
OPERATORS = {"operator", "admin"}
EVERYBODY = set(PRINCIPALS)

CALLS = {
    "the list": ("GET", "machines", None, EVERYBODY),
    "one machine": ("GET", "machines/{board}", None, EVERYBODY),
    "leases": ("GET", "leases", None, READERS),
    "one lease": ("GET", "leases/{lease}", None, READERS),
    "the queue": ("GET", "queue", None, READERS),
    "explain": ("GET", "explain?q={board}", None, READERS),
    "history": ("GET", "history", None, READERS),
    "whoami": ("GET", "whoami", None, READERS),
    "lock": ("PUT", "leases/{new}", {"selector": "{board}"}, USERS),
    "comment": ("PATCH", "machines/{board}", {"comment": "on the top shelf"}, USERS),
    "label": ("PATCH", "machines/{board}", {"labels": {"rack": "b"}}, OPERATORS),
    "drain": ("PATCH", "machines/{board}", {"service": "drained", "reason": "new fan"}, OPERATORS),
    "take back": ("DELETE", "leases/{lease}?reason=fire", None, OPERATORS),
    "delete": ("DELETE", "machines/{board}", None, OPERATORS),
    "read tokens": ("GET", "tokens", None, READERS),
    "make a token": ("POST", "tokens", {"name": "ben"}, {"admin"}),
    "revoke a token": ("DELETE", "tokens/{token}", None, {"admin"}),
    "beat": ("POST", "machines/{board}/beat", {"id": "x", "address": "y"}, set()),
}
"""Who may make the call. All others are told why not, and nothing happens."""


@pytest.fixture(scope="module")
def headers(api: Api) -> dict[str, dict[str, str]]:
    """How each kind of principal introduces itself; the agent is that of another board."""
    tokens = {role: api.token(role) for role in PRINCIPALS if role not in ("nobody", "legacy")}
    bearers = {role: {"Authorization": f"Bearer {token}"} for role, token in tokens.items()}
    legacy = {"Authorization": f"Bearer {KEY}", "X-Picluster-User": "ann"}
    return {**bearers, "nobody": {}, "legacy": legacy}


def bearer(token: str, user: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **({} if user is None else {"X-Picluster-User": user})}


@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.parametrize("call", CALLS)
def test_each_role_may_what_its_role_may(
    api: Api, headers: dict[str, dict[str, str]], call: str, principal: str
) -> None:
    method, path, body, allowed = CALLS[call]
    board, other, lease = api.board(), api.board(), fresh_lease()
    api.put(lease, {"selector": other.name})
    named = {"board": board.name, "lease": lease.partition("/")[2], "new": str(uuid.uuid4())}
    named["token"] = api.post("tokens", {"name": "carl"}).json()["id"]
    if body:
        body = {
            key: value.format(**named) if isinstance(value, str) else value for key, value in body.items()
        }
    before = api.revision()
    answer = api.send(method, path.format(**named), body, "", headers=headers[principal])
    if principal in allowed:
        assert answer.status_code in (200, 201), answer.text
        return
    assert answer.status_code == (401 if principal == "nobody" else 403), answer.text
    error = answer.json()["error"]
    assert error["code"] == ("not_authenticated" if principal == "nobody" else "not_allowed")
    assert error["message"] and error["hint"]
    assert api.revision() == before
    if principal == "nobody":
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("principal", PRINCIPALS)
def test_the_stream_is_for_readers(
    api: Api, headers: dict[str, dict[str, str]], board: Board, principal: str
) -> None:
    with httpx2.stream("GET", f"{api.address}/api/v1/events", headers=headers[principal]) as answer:
        expected = 401 if principal == "nobody" else 200 if principal in READERS else 403
        assert answer.status_code == expected


def test_a_board_beats_for_itself_only(api: Api, board: Board) -> None:
    """One stolen card must not be able to speak for the others."""
    other = api.board()
    answer = api.post(f"machines/{other.name}/beat", board.says, board.token)
    assert answer.status_code == 403
    assert board.name in answer.json()["error"]["message"] and other.name in answer.json()["error"]["message"]
    assert board.beat()["machine"] == board.name


def test_a_person_is_told_which_token_a_beat_needs(api: Api, board: Board) -> None:
    answer = api.post(f"machines/{board.name}/beat", board.says, api.token("viewer"))
    assert answer.status_code == 403 and "agent" in answer.json()["error"]["hint"]


# The shared key


@pytest.mark.parametrize("name", ["ann", " ann  b ", "Jürgen", "🥧", "a%20b", 'q"uo\\te', "\t", "x" * 2000])
def test_the_shared_key_says_its_name_in_percent_encoding(api: Api, board: Board, name: str) -> None:
    """Headers trim blanks and carry no emoji, and a name that comes out different could not unlock."""
    lease = fresh_lease()
    made = api.put(lease, {"selector": board.name}, "", headers=bearer(KEY, quote(name, safe="")))
    assert made.json()["holder"] == f"legacy:{name}", made.text
    assert api.get("whoami", "", headers=bearer(KEY, quote(name, safe=""))).json()["role"] == "user"
    released = api.delete(lease, "", headers=bearer(KEY, quote(name, safe="")))
    assert released.json()["ended"] == "released"


@pytest.mark.parametrize("user", [None, ""])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "leases/2f1c9d5e-0000-4000-8000-000000000000", {}),
        ("POST", "leases/2f1c9d5e-0000-4000-8000-000000000000/renew", None),
        ("DELETE", "leases/2f1c9d5e-0000-4000-8000-000000000000", None),
        ("PATCH", "machines/any", {"comment": "x"}),
        ("DELETE", "machines/any", None),
    ],
)
def test_a_write_with_the_shared_key_needs_a_name(
    api: Api, user: str | None, method: str, path: str, body: object
) -> None:
    answer = api.send(method, path, body, "", headers=bearer(KEY, user))
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["field"] == "x-picluster-user"
    assert "X-Picluster-User" in error["hint"] and "percent-encoded" in error["hint"]


def test_reading_with_the_shared_key_needs_no_name(api: Api) -> None:
    assert api.get("queue", "", headers=bearer(KEY)).status_code == 200


@pytest.mark.parametrize(("name", "problem"), [("a%00b", "NUL"), ("x" * 9000, "9000 bytes")])
def test_a_name_that_cannot_be_kept_is_refused(api: Api, name: str, problem: str) -> None:
    answer = api.put(fresh_lease(), {}, "", headers=bearer(KEY, name))
    assert answer.status_code == 400 and problem in answer.json()["error"]["message"]


def test_the_shared_key_deletes_only_what_spoke_the_old_protocol(
    api: Api, pool: ServiceProcess, board: Board
) -> None:
    """And only while nobody has it."""
    ann = bearer(KEY, "ann")
    address = f"old-{uuid.uuid4()}"
    pool.old("update", address, user=None, HostName=address)
    pool.old("lock", address, "ben")
    assert api.delete(f"machines/{address}", "", headers=ann).json()["error"]["holder"] == "legacy:ben"
    pool.old("free", address, "ben")
    assert api.delete(f"machines/{address}", "", headers=ann).status_code == 200
    assert api.delete(f"machines/{board.name}", "", headers=ann).status_code == 403


def test_the_shared_key_ends_legacy_leases_only(api: Api, board: Board) -> None:
    """`--lock_override`: with a reason, which is recorded, and never a lease of somebody with an account."""
    other = api.board()
    bens, carls = fresh_lease(), fresh_lease()
    api.put(bens, {"selector": board.name}, "", headers=bearer(KEY, "ben"))
    api.put(carls, {"selector": other.name}, api.token("user"))
    ann = bearer(KEY, "ann")
    assert api.delete(bens, "", headers=ann).json()["error"]["field"] == "reason"
    ended = api.delete(f"{bens}?reason=he+left", "", headers=ann).json()
    assert (ended["ended"], ended["ended_by"]) == ("taken_back", "legacy:ann")
    assert api.delete(f"{carls}?reason=me", "", headers=ann).status_code == 403
    told = api.get(f"history?lease={ended['id']}&kind=lease.ended").json()
    assert told[0]["detail"]["reason"] == "he left"


# Tokens that are over, and guessing


def test_a_revoked_token_is_over_at_once(api: Api) -> None:
    made = api.post("tokens", {"name": "dora"}).json()
    assert api.get("whoami", made["token"]).json()["name"] == "dora"
    assert api.delete(f"tokens/{made['id']}").json()["revoked"] is True
    assert api.get("whoami", made["token"]).status_code == 401
    before = api.revision()
    assert api.delete(f"tokens/{made['id']}").json()["revoked"] is True
    assert api.revision() == before, "repeating a revocation is the same answer, and nothing new"


def test_a_revoked_board_beats_no_more(api: Api, board: Board) -> None:
    mine = next(token for token in api.get("tokens").json() if token["name"] == board.name)
    api.delete(f"tokens/{mine['id']}")
    assert api.post(f"machines/{board.name}/beat", board.says, board.token).status_code == 401


def test_a_token_ends_at_its_time() -> None:
    """By the wall clock, since people write down dates."""
    now = 1_700_000_000_000_000
    view, secret = View(cap_s=6.0), new_secret("person")
    view.roster.put(
        Token(secret.id, "person", "ann", Role.USER, digest(secret.text), expires_us=now + 60_000_000)
    )
    clock = [now]
    gate = Gate(view, "", lambda: clock[0])
    clock[0] += 59_999_999
    assert gate.actor(f"Bearer {secret.text}", "", "10.0.0.1").name == "ann"  # type: ignore[union-attr]
    clock[0] += 1
    with pytest.raises(NotAuthenticated, match="expired"):
        gate.actor(f"Bearer {secret.text}", "", "10.0.0.1")


def test_a_token_says_when_it_ends(api: Api) -> None:
    made = api.post("tokens", {"name": "eve", "expires_in_s": 60}).json()
    assert made["expires_us"] - made["issued_us"] == 60_000_000
    assert api.get("whoami", made["token"]).status_code == 200
    assert api.post("tokens", {"name": "eve"}).json()["expires_us"] == 0


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Basic YTpi", "pc_person_abcdefabcdef_x", "Bearer é", f"Bearer {KEY} {KEY}"],
)
def test_what_is_no_token_is_a_401_with_a_way_out(api: Api, authorization: str) -> None:
    answer = api.get("whoami", "", headers={"Authorization": authorization.encode()})
    assert answer.status_code == 401
    assert answer.json()["error"]["hint"]


def test_a_token_that_differs_in_its_last_character_is_wrong(api: Api) -> None:
    token = api.token("user")
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert api.get("whoami", wrong).status_code == 401


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service behind a proxy that it trusts, so that callers have addresses of their own."""
    folder = tmp_path_factory.mktemp("guarded")
    with service(*on_sqlite(folder), PICLUSTER_TRUSTED_PROXIES="127.0.0.1") as running:
        asking = Api(running.address)
        yield asking
        asking.close()


def test_guessing_the_key_is_limited_for_each_address(guarded: Api) -> None:
    """The guesser waits a minute; colleagues at other addresses, and boards with tokens, notice nothing."""

    def ask(token: str, address: str) -> httpx2.Response:
        return guarded.get("whoami", token, headers={"X-Forwarded-For": address})

    token = guarded.token("user")
    statuses = [ask("guess", "10.0.0.66").status_code for _ in range(WRONG_KEYS_PER_MINUTE + 1)]
    assert statuses == [401] * WRONG_KEYS_PER_MINUTE + [429]
    refused = ask(KEY, "10.0.0.66")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_attempts")
    assert refused.headers["Retry-After"] == "60"
    assert ask(token, "10.0.0.66").status_code == 200
    assert ask(KEY, "10.0.0.67").status_code == 200


def test_guessing_the_key_in_the_old_protocol_is_limited_too(guarded: Api) -> None:
    def ask(key: str, address: str) -> object:
        body = {"ApiKey": key, "IpAddress": "10.0.0.70", "HostName": "pi"}
        return guarded.post("/api/update", body, "", headers={"X-Forwarded-For": address}).json()

    for _ in range(WRONG_KEYS_PER_MINUTE):
        assert ask("guess", "10.0.0.71") == {"error": "api key mismatch"}
    assert ask(KEY, "10.0.0.71") == {"error": "api key mismatch"}
    assert isinstance(ask(KEY, "10.0.0.72"), dict) and "IpAddress" in dict(ask(KEY, "10.0.0.72"))  # type: ignore[call-overload]


def test_an_old_token_of_a_board_locks_nobody_out(guarded: Api) -> None:
    """256 random bits need no limit, and a forgotten board would otherwise shut out all behind the same router."""
    old = new_secret("agent").text
    here = {"X-Forwarded-For": "10.0.0.68"}
    for _ in range(2 * WRONG_KEYS_PER_MINUTE):
        assert guarded.get("whoami", old, headers=here).status_code == 401
    assert guarded.get("whoami", KEY, headers=here).status_code == 200


# The first admin


def link(running: ServiceProcess) -> str:
    """The code in the one-time link that it printed, or an empty text."""
    found = re.search(r"/setup\?code=(\S+)", running.said())
    return found.group(1) if found else ""


def press(running: ServiceProcess, code: str, **headers: str) -> httpx2.Response:
    """The button of the page behind the link, with a name and a password typed in."""
    typed = {"code": code, "name": "ann", "password": PASSWORD, "again": PASSWORD}
    headers = headers or {"Sec-Fetch-Site": "same-origin"}
    return httpx2.post(f"{running.address}/setup", data=typed, headers=headers)


def looked_at(running: ServiceProcess, path: str) -> tuple[int, str]:
    """What somebody without a session reads there."""
    answer = httpx2.get(f"{running.address}{path}", headers={"Accept": "text/html"})
    return answer.status_code, words(answer)


def test_a_link_that_is_over_says_so_before_anything_is_typed(tmp_path: Path) -> None:
    """With the way on: to the link that was printed last, or, once there is an admin, to the login."""
    with service(*on_sqlite(tmp_path), PICLUSTER_ADMIN_TOKEN="") as running:
        code, printed = link(running), "open the link that the service printed when it started"
        for path in ("/setup", "/setup?code=pc_setup_nonsense", "/setup?code=%00"):
            status, told = looked_at(running, path)
            assert status == 403 and "Nobody is admin yet" in told and printed in told
            assert "Who are you?" not in told
        assert printed in looked_at(running, "/login")[1]
        assert "Who are you?" in looked_at(running, f"/setup?code={code}")[1]
        assert press(running, code).status_code == 303
        status, told = looked_at(running, f"/setup?code={code}")
        assert status == 403 and "There is an admin already" in told and "Log in" in told
        assert "An admin makes one" in looked_at(running, "/login")[1]


def test_the_one_time_link_makes_one_admin(tmp_path: Path) -> None:
    with service(*on_sqlite(tmp_path), PICLUSTER_ADMIN_TOKEN="") as running:
        first = link(running)
        running.kill()
        running.start()
        code = link(running)
        assert first and code and first != code
        assert press(running, first).status_code == 403, "a link of an earlier start is over"
        for _ in range(2):
            page = httpx2.get(f"{running.address}/setup", params={"code": code})
            assert page.status_code == 200, "looking uses nothing up: previews of links look, too"
        assert press(running, code, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert press(running, code, Origin="https://elsewhere.example").status_code == 403
        assert running.get("/api/v1/whoami", code).status_code == 403, "a link is no token"
        session = press(running, code).headers["Set-Cookie"].partition(";")[0]
        me = httpx2.get(f"{running.address}/api/v1/whoami", headers={"Cookie": session}).json()
        assert (me["name"], me["role"]) == ("ann", "admin")
        again = press(running, code)
        assert again.status_code == 403 and "used already" in again.text
        assert "Set-Cookie" not in again.headers
        running.kill()
        running.start()
        assert link(running) == ""


def test_a_configured_admin_token_replaces_the_link(pool: ServiceProcess) -> None:
    assert link(pool) == ""
    assert pool.get("/api/v1/whoami").json()["role"] == "admin"
    assert press(pool, "anything").status_code == 403


def test_secrets_are_in_no_read(pool: ServiceProcess, api: Api, board: Board) -> None:
    """A token's text is in the answer to its making and nowhere else; what others may send in confidence, nowhere."""
    before = api.get("whoami").json()
    made = api.post("tokens", {"name": "finn"}).json()["token"]
    address = f"old-{uuid.uuid4()}"
    pool.old("update", address, user=None, HostName=address)
    pool.old("lock", address, "ann", LockKey="hush-hush")
    lease = fresh_lease()
    api.put(lease, {"selector": board.name, "ssh_public_keys": ["ssh-ed25519 AAAAhush ann@desk"]})
    hidden = [
        f" {KEY}",
        "hush",
        *(text for token in (ADMIN, made, board.token) for text in (token, token[-43:])),
    ]
    hidden += [hashlib.sha256(token.encode()).hexdigest() for token in (ADMIN, made, board.token)]
    reads = ["tokens", "machines", f"machines/{board.name}", "leases", lease, "queue", "history?limit=1000"]
    reads += ["whoami", "explain", "/api", f"/api?id={address}", "/", "/metrics", "/setup", "/healthz"]
    texts = {path: api.get(path).text for path in reads}
    with api.stream(f"events?after={before['epoch']}.{before['revision']}") as stream:
        news = stream.iter_text()
        texts["events"] = ""
        while lease.partition("/")[2] not in texts["events"]:
            texts["events"] += next(news)
    texts["its log"] = pool.said()
    found = [(path, secret) for path, text in texts.items() for secret in hidden if secret in text]
    assert found == []


def test_a_closed_list_needs_a_login(tmp_path: Path) -> None:
    with service(*on_sqlite(tmp_path), PICLUSTER_PUBLIC_LIST="false") as running:
        for path in ("/api/v1/machines", "/api/v1/machines/any", "/"):
            answer = httpx2.get(running.address + path, headers={"Accept": "text/html"})
            assert answer.status_code == 401, path
        assert httpx2.get(f"{running.address}/api").json() == {"error": "the list needs a login"}
        assert running.get("/api/v1/machines").json() == []


def test_without_a_shared_key_the_old_door_is_closed(tmp_path: Path) -> None:
    """An unset key is never "no check"."""
    with service(*on_sqlite(tmp_path), RPI_APIKEY="") as running:
        assert running.get("/api/v1/whoami").json()["legacy_door"] is False
        for key in (KEY, "None", "null"):
            assert running.get("/api/v1/whoami", key).status_code == 401
        assert httpx2.get(f"{running.address}/api/v1/machines").status_code == 401
        for body in ({"ApiKey": ""}, {"ApiKey": None}, {}):
            assert httpx2.post(f"{running.address}/api/update", json=body).status_code == 404
