"""Who is logged in with a browser: what its cookie is, what it opens, and all the ways in which it ends.

The service runs in this process, with a handful of pages such as the dashboard's: they call what those call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from picluster.errors import NotAllowed
from picluster.pool.commands import AddPerson, AmendPerson, ForgetPerson, IssueToken, RevokeToken
from picluster.pool.model import SYSTEM, Person, Role, Token
from picluster.server.access import passwords, sessions
from picluster.server.access.attempts import (
    FAILURES_PER_ADDRESS,
    FAILURES_PER_NAME,
    FAILURES_PER_NAME_ELSEWHERE,
)
from picluster.server.access.credentials import digest, new_secret
from picluster.server.app import Service
from picluster.server.settings import Settings
from picluster.server.v1 import tokens
from picluster.store.sqlite import SqliteStore
from picluster.wire import TokenRequest
from tests.service import ADMIN, KEY

PASSWORD = "correct horse battery"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
PROXY = "10.0.0.9"

pages = APIRouter()


async def _let_in(request: Request, begun: Awaitable[tuple[Any, Any]]) -> Response:
    secret, actor = await begun
    response = JSONResponse({"name": actor.name, "role": actor.role.name.lower()})
    sessions.set_cookie(response, request, secret)
    return response


@pages.post("/page/login")
async def login(request: Request) -> Response:
    sessions.same_origin(request)
    said, context = await request.json(), request.app.state.context
    address = request.client.host if request.client else ""
    if "code" in said:
        first = sessions.begin_as_first_admin(context, said["code"], said["name"], said["password"], address)
        return await _let_in(request, first)
    if "token" in said:
        by_token = sessions.begin_with_token(context, said["token"], said.get("name", ""), address)
        return await _let_in(request, by_token)
    return await _let_in(request, sessions.begin(context, said["name"], said["password"], address))


@pages.post("/page/logout")
async def logout(request: Request) -> Response:
    sessions.same_origin(request)
    await sessions.end(request.app.state.context, request)
    response = Response()
    sessions.clear_cookie(response, request)
    return response


@pages.get("/page/me")
async def me(request: Request) -> Response:
    actor = sessions.session_actor(request)
    return JSONResponse(actor and [actor.name, actor.role.name.lower(), actor.limited])


@dataclass
class House:
    """One service, and browsers in front of it."""

    service: Service
    now_us: int = 0
    """What the gate takes for the time; 0 for what it is."""
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    @property
    def context(self) -> Any:
        return self.service.context

    async def ask(self, command: Any) -> Any:
        return await self.context.coordinator.ask(command)

    def browser(self, origin: str = "http://pool:1337", address: str = "10.0.0.1") -> httpx2.AsyncClient:
        """Behind the same trusted proxy as the service's, or without one."""
        app = ProxyHeadersMiddleware(self.service.app, trusted_hosts=PROXY)
        transport = httpx2.ASGITransport(app=app, client=(address, 40_000))
        client = httpx2.AsyncClient(transport=transport, base_url=origin)
        self.clients.append(client)
        return client

    async def person(self, name: str, role: Role = Role.USER, **more: Any) -> Person:
        kept = await passwords.hashed(PASSWORD)
        person: Person = await self.ask(AddPerson(SYSTEM, Person(name, role, kept, **more)))
        return person

    async def token(self, name: str, kind: str = "person", role: Role = Role.USER, **more: Any) -> str:
        secret = new_secret(kind)
        await self.ask(IssueToken(SYSTEM, Token(secret.id, kind, name, role, digest(secret.text), **more)))
        return secret.text

    def kinds(self) -> list[str]:
        return [token.kind for token in self.context.view.roster.tokens.values()]


@asynccontextmanager
async def house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    store = SqliteStore(folder / "pool.db", cap_s=6.0)
    store.open()
    given = {"PICLUSTER_API_KEY": KEY, "admin_token": ADMIN, **settings}
    service = Service(Settings(**given), store)
    service.app._api.include_router(pages)  # type: ignore[attr-defined]
    running = House(service)
    service.context.gate._wall_us = lambda: running.now_us or service.context.wall_us()
    try:
        async with service.running():
            yield running
            for client in running.clients:
                await client.aclose()
    finally:
        store.close()


def story(folder: Path, tell: Callable[[House], Awaitable[None]], **settings: Any) -> None:
    async def told() -> None:
        async with house(folder, **settings) as running:
            await tell(running)

    asyncio.run(told())


async def log_in(browser: httpx2.AsyncClient, **said: str) -> httpx2.Response:
    said = said or {"name": "ann", "password": PASSWORD}
    return await browser.post("/page/login", json=said, headers=SAME_ORIGIN)


async def who(browser: httpx2.AsyncClient) -> Any:
    """Name, role, whether the quota counts; None for nobody."""
    return (await browser.get("/page/me")).json()


def cookie(answer: httpx2.Response) -> Morsel[str]:
    (morsel,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    return morsel


# The cookie


@pytest.mark.parametrize(
    ("origin", "headers", "secure"),
    [
        ("http://pool:1337", {}, False),
        ("https://pool", {}, True),
        ("http://pool:1337", {"X-Forwarded-Proto": "https"}, True),
    ],
)
def test_a_cookie_for_no_script_and_no_other_site(
    tmp_path: Path, origin: str, headers: dict[str, str], secure: bool
) -> None:
    """Under TLS, ours or a trusted proxy's, it is for this host and for TLS alone, and named so that browsers know."""

    async def tell(house: House) -> None:
        await house.person("ann")
        browser = house.browser(origin, PROXY if headers else "10.0.0.1")
        said = {"name": "ann", "password": PASSWORD}
        answer = await browser.post("/page/login", json=said, headers={**SAME_ORIGIN, **headers})
        kept = cookie(answer)
        assert kept.key == ("__Host-picluster_session" if secure else "picluster_session")
        assert kept.value.startswith("pc_session_")
        assert bool(kept["secure"]) is secure and kept["httponly"] is True
        assert (kept["samesite"], kept["path"], kept["domain"]) == ("lax", "/", "")
        assert kept["max-age"] == str(int(sessions.SESSION_S))
        sent = {**headers, "Cookie": f"{kept.key}={kept.value}"}
        assert (await browser.get("/page/me", headers=sent)).json() == ["ann", "user", True]

    story(tmp_path, tell)


def test_a_stranger_who_says_https_is_not_believed(tmp_path: Path) -> None:
    async def tell(house: House) -> None:
        await house.person("ann")
        said = {"name": "ann", "password": PASSWORD}
        headers = {**SAME_ORIGIN, "X-Forwarded-Proto": "https"}
        answer = await house.browser(address="10.0.0.1").post("/page/login", json=said, headers=headers)
        assert cookie(answer).key == "picluster_session"

    story(tmp_path, tell)


def test_under_tls_a_cookie_without_its_prefix_is_nothing(tmp_path: Path) -> None:
    """A neighbour on plain HTTP could have planted it."""

    async def tell(house: House) -> None:
        await house.person("ann")
        planted = cookie(await log_in(house.browser())).value
        browser = house.browser("https://pool")
        assert (
            await browser.get("/page/me", headers={"Cookie": f"picluster_session={planted}"})
        ).json() is None

    story(tmp_path, tell)


def test_a_secret_is_in_the_cookie_alone(tmp_path: Path) -> None:
    """Kept as a digest, in no list, and of no use as a bearer token; nor is a token in a cookie."""

    async def tell(house: House) -> None:
        await house.person("ann", Role.ADMIN)
        browser = house.browser()
        answer = await log_in(browser)
        secret = cookie(answer).value
        listed = (await browser.get("/api/v1/tokens")).text
        assert "session" not in listed and secret not in answer.text
        bearer = {"Authorization": f"Bearer {secret}"}
        assert (await house.browser().get("/api/v1/whoami", headers=bearer)).status_code == 401
        token = await house.token("ann")
        fake = {"Cookie": f"picluster_session={token}"}
        assert (await house.browser().get("/page/me", headers=fake)).json() is None

    story(tmp_path, tell)


@pytest.mark.parametrize("value", ["", "x", "pc_session_abcdefabcdef_" + "x" * 43, '"; DROP', "\xff" * 50])
def test_a_cookie_that_is_nothing_is_nobody(tmp_path: Path, value: str) -> None:
    async def tell(house: House) -> None:
        header = f"picluster_session={value}".encode("latin-1")
        assert (await house.browser().get("/page/me", headers={b"Cookie": header})).json() is None

    story(tmp_path, tell)


# What it opens


def test_a_session_reads_the_api_and_writes_nothing_there(tmp_path: Path) -> None:
    """A form of another site could send the cookie, so a write needs a token that no other site has."""

    async def tell(house: House) -> None:
        await house.person("ann", Role.ADMIN)
        browser = house.browser()
        await log_in(browser)
        assert (await browser.get("/api/v1/whoami")).json()["name"] == "ann"
        assert (await browser.get("/api/v1/people")).status_code == 200
        for method, path, body in (
            ("POST", "tokens", {"name": "mallory", "role": "admin"}),
            ("POST", "people", {"name": "mallory", "role": "admin"}),
            ("PATCH", "people/ann", {"disabled": True}),
            ("DELETE", "people/ann", None),
            ("PUT", "leases/2f1c9d5e-0000-4000-8000-000000000000", {}),
        ):
            answer = await browser.request(method, f"/api/v1/{path}", json=body, headers=SAME_ORIGIN)
            assert answer.status_code == 401, path
        assert [person.name for person in house.context.view.roster.people.values()] == ["ann"]

    story(tmp_path, tell)


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://pool:1337"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "", "Host": ""}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://pool:8080"}, False),
        ({"Origin": "http://pool:1337.evil.example"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://pool:1337"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://pool:1337"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
    ],
)
def test_only_our_own_forms_change_anything(tmp_path: Path, headers: dict[str, str], ours: bool) -> None:
    """By what the browser says of the form's origin; where it says nothing, no."""
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [
            (key.lower().encode(), value.encode()) for key, value in {"Host": "pool:1337", **headers}.items()
        ],
    }
    if ours:
        sessions.same_origin(Request(scope))
        return
    with pytest.raises(NotAllowed, match="another site"):
        sessions.same_origin(Request(scope))


# How it ends


def test_a_log_out_is_one(tmp_path: Path) -> None:
    """Also for whoever has copied the cookie; and it can be repeated."""

    async def tell(house: House) -> None:
        await house.person("ann")
        browser, thief, other = house.browser(), house.browser(), house.browser()
        secret = cookie(await log_in(browser)).value
        await log_in(other)
        stolen = {"Cookie": f"picluster_session={secret}"}
        assert (await thief.get("/page/me", headers=stolen)).json() is not None
        assert len(sessions.sessions_of(house.context, "ann")) == 2
        for _ in range(2):
            answer = await browser.post("/page/logout", headers=SAME_ORIGIN)
            assert cookie(answer)["max-age"] == "0"
        assert await who(browser) is None
        assert (await thief.get("/page/me", headers=stolen)).json() is None
        assert await who(other) is not None
        assert len(sessions.sessions_of(house.context, "ann")) == 1

    story(tmp_path, tell)


def test_a_session_ends_at_its_time(tmp_path: Path) -> None:
    async def tell(house: House) -> None:
        await house.person("ann")
        browser = house.browser()
        await log_in(browser)
        (session,) = sessions.sessions_of(house.context, "ann")
        house.now_us = session.expires_us - 1
        assert await who(browser) is not None
        house.now_us += 1
        assert await who(browser) is None

    story(tmp_path, tell)


@pytest.mark.parametrize(
    "end",
    [
        AmendPerson(SYSTEM, "ann", disabled=True),
        AmendPerson(SYSTEM, "ann", password="another hash"),
        ForgetPerson(SYSTEM, "ann"),
    ],
)
def test_whoever_is_put_out_is_out_at_once(tmp_path: Path, end: Any) -> None:
    async def tell(house: House) -> None:
        await house.person("ann")
        browser = house.browser()
        await log_in(browser)
        await house.ask(end)
        assert await who(browser) is None

    story(tmp_path, tell)


def test_a_role_changes_while_one_is_logged_in(tmp_path: Path) -> None:
    """Down at once; up again as far as it was at the log-in, and further with the next one."""

    async def tell(house: House) -> None:
        await house.person("ann", Role.OPERATOR)
        browser = house.browser()
        await log_in(browser)
        for role, left in ((Role.VIEWER, "viewer"), (Role.ADMIN, "operator")):
            await house.ask(AmendPerson(SYSTEM, "ann", role=role))
            assert (await who(browser))[1] == left
        await log_in(browser)
        assert (await who(browser))[1:] == ["admin", False]

    story(tmp_path, tell)


def test_a_session_begun_with_a_token_ends_with_it(tmp_path: Path) -> None:
    """Revoked or run out; and it is worth what the token is."""

    async def tell(house: House) -> None:
        now = house.context.wall_us()
        revoked, brief = house.browser(), house.browser()
        first = await house.token("ben", role=Role.OPERATOR)
        await log_in(revoked, token=f" {first}\n")
        await log_in(brief, token=await house.token("nightly", "ci", expires_us=now + 60_000_000))
        assert await who(revoked) == ["ben", "operator", True]
        assert await who(brief) == ["nightly", "user", False], "no quota counts for programs"
        await house.person("ben", Role.VIEWER)
        assert (await who(revoked))[1] == "viewer", "an account of that name decides from now on"
        await house.ask(RevokeToken(SYSTEM, first.split("_")[2]))
        assert await who(revoked) is None
        house.now_us = now + 60_000_000
        assert await who(brief) is None

    story(tmp_path, tell)


def test_a_session_makes_no_more_of_the_token_it_began_with(tmp_path: Path) -> None:
    """A program's is not a person's on a page either, and what was lent for an hour is not good for ever."""

    async def tell(house: House) -> None:
        program, guest = house.browser(), house.browser()
        await house.token("nightly")
        await log_in(program, token=await house.token("nightly", "ci"))
        assert (await program.get("/api/v1/tokens")).json() == []
        lent_us = house.context.wall_us() + 3_600_000_000
        secret = cookie(await log_in(guest, token=await house.token("guest", expires_us=lent_us))).value
        assert [one["name"] for one in (await guest.get("/api/v1/tokens")).json()] == ["guest"]
        actor = house.context.gate.session(secret, "10.0.0.1")
        made, _ = await tokens.issue(house.context, actor, TokenRequest("guest"))
        assert made.expires_us == lent_us

    story(tmp_path, tell)


def test_the_operators_token_logs_in(tmp_path: Path) -> None:
    """Even where an account called admin is disabled: that is how one gets back in."""

    async def tell(house: House) -> None:
        await house.person("admin", disabled=True)
        browser = house.browser()
        assert (await log_in(browser, token=ADMIN)).status_code == 200
        assert await who(browser) == ["admin", "admin", False]

    story(tmp_path, tell)


def test_the_shared_key_logs_in_under_a_name(tmp_path: Path) -> None:
    """Whoever says it; so it is `legacy:`, a user, and no account."""

    async def tell(house: House) -> None:
        await house.person("ann", Role.ADMIN)
        browser = house.browser()
        assert (await log_in(browser, token=KEY, name=" ann ")).json()["name"] == "legacy:ann"
        assert await who(browser) == ["legacy:ann", "user", False]
        for said, field_ in (({"token": KEY, "name": "  "}, "name"), ({"token": " "}, "token")):
            answer = await log_in(house.browser(), **said)
            assert answer.status_code == 400 and answer.json()["error"]["field"] == field_

    story(tmp_path, tell)


@pytest.mark.parametrize("key", ["another key", ""])
def test_a_session_of_the_shared_key_ends_with_the_key(tmp_path: Path, key: str) -> None:
    """The key was changed because too many know it; nothing that is stored tells what it was."""

    async def tell(house: House) -> None:
        browser = house.browser()
        await log_in(browser, token=KEY, name="ann")
        house.context.gate._api_key = key
        assert await who(browser) is None
        house.context.gate._api_key = KEY
        assert await who(browser) is not None
        (session,) = sessions.sessions_of(house.context, "legacy:ann")
        assert session.issued_by == "legacy"

    story(tmp_path, tell)


@pytest.mark.parametrize("kind", ["agent", "join", "setup"])
def test_what_is_no_persons_logs_nobody_in(tmp_path: Path, kind: str) -> None:
    async def tell(house: House) -> None:
        role = {"agent": Role.AGENT, "join": Role.JOIN}.get(kind, Role.NOBODY)
        text = await house.token("x", kind, role)
        assert (await log_in(house.browser(), token=text)).status_code == 403
        assert "session" not in house.kinds()

    story(tmp_path, tell)


# Guessing


async def guess(house: House, name: str, address: str, password: str = "wrong wrong wrong") -> int:
    browser = house.browser(address=address)
    return (await log_in(browser, name=name, password=password)).status_code


def test_a_wrong_name_and_a_wrong_password_look_the_same(tmp_path: Path) -> None:
    """And a disabled account is told of to those alone who know its password."""

    async def tell(house: House) -> None:
        await house.person("ann"), await house.person("gone", disabled=True)
        nothing = await house.ask(AddPerson(SYSTEM, Person("new", Role.USER)))
        assert nothing.password == ""
        answers = [
            await log_in(house.browser(), name=name, password=password)
            for name, password in (("nemo", PASSWORD), ("ann", "wrong"), ("gone", "wrong"), ("new", ""))
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        told = await log_in(house.browser(), name="gone", password=PASSWORD)
        assert told.status_code == 403 and "disabled" in told.text

    story(tmp_path, tell)


def test_a_name_is_guessed_at_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From however many addresses, with the right password too; other names are not affected."""
    times = FAILURES_PER_NAME_ELSEWHERE

    async def tell(house: House) -> None:
        await house.person("ann"), await house.person("ben")
        answers = [await guess(house, "Ann", f"10.0.1.{number}") for number in range(times + 1)]
        assert answers == [401] * times + [429]
        refused = await log_in(house.browser(address="10.0.2.1"))
        assert refused.status_code == 429 and "for this name" in refused.text
        assert refused.headers["Retry-After"] == "60"
        assert await guess(house, "ben", "10.0.1.1", PASSWORD) == 200

    _without_hashing(monkeypatch)
    story(tmp_path, tell)


def test_who_guesses_a_name_from_elsewhere_does_not_lock_out_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell(house: House) -> None:
        await house.person("ann")
        answers = [await guess(house, "ann", "10.0.1.1") for _ in range(FAILURES_PER_NAME + 1)]
        assert answers == [401] * FAILURES_PER_NAME + [429]
        assert await guess(house, "ann", "10.0.1.1", PASSWORD) == 429
        assert await guess(house, "ann", "10.0.1.2", PASSWORD) == 200

    _without_hashing(monkeypatch)
    story(tmp_path, tell)


def test_an_address_guesses_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names it tries; others get in."""

    async def tell(house: House) -> None:
        await house.person("ann")
        names = [f"name-{number}" for number in range(FAILURES_PER_ADDRESS + 1)]
        assert [await guess(house, name, "10.0.1.1") for name in names][-2:] == [401, 429]
        assert await guess(house, "ann", "10.0.1.1", PASSWORD) == 429
        assert await guess(house, "ann", "10.0.1.2", PASSWORD) == 200

    _without_hashing(monkeypatch)
    story(tmp_path, tell)


def test_a_hundred_guesses_at_once_are_no_way_around(tmp_path: Path) -> None:
    """Those under way count: else all of them would have begun before the first had failed."""

    async def tell(house: House) -> None:
        await house.person("ann")
        answers = await asyncio.gather(*(guess(house, "ann", "10.0.1.1") for _ in range(100)))
        assert answers.count(401) == FAILURES_PER_NAME and set(answers) == {401, 429}

    story(tmp_path, tell)


def test_getting_it_right_does_not_count(tmp_path: Path) -> None:
    async def tell(house: House) -> None:
        await house.person("ann")
        for _ in range(FAILURES_PER_NAME + 1):
            assert await guess(house, "ann", "10.0.1.1", PASSWORD) == 200

    story(tmp_path, tell)


def _without_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted does not depend on argon2, which takes its time."""

    async def hashed(password: str) -> str:
        return f"hash of {password}"

    async def fits(kept: str, password: str) -> bool:
        return kept == f"hash of {password}"

    monkeypatch.setattr(passwords, "hashed", hashed)
    monkeypatch.setattr(passwords, "fits", fits)
    monkeypatch.setattr(passwords, "outdated", lambda kept: False)


# Passwords


def test_a_password_is_kept_as_a_hash_that_takes_time(tmp_path: Path) -> None:
    async def tell() -> None:
        kept = await passwords.hashed(PASSWORD)
        assert kept.startswith("$argon2id$") and PASSWORD not in kept
        assert kept != await passwords.hashed(PASSWORD)
        assert await passwords.fits(kept, PASSWORD) and not await passwords.fits(kept, PASSWORD.upper())
        for nothing in ("", "damaged", passwords.NOBODYS):
            assert not await passwords.fits(nothing, "")
        assert not passwords.outdated(kept) and not passwords.outdated(passwords.NOBODYS)

    asyncio.run(tell())


def test_a_password_is_the_same_on_every_keyboard() -> None:
    """macOS sends an accent as a character of its own."""

    async def tell() -> None:
        assert await passwords.fits(await passwords.hashed("Zürich in März"), "Zu\u0308rich in Ma\u0308rz")
        assert not await passwords.fits(await passwords.hashed("Zürich in März"), "Zurich in Marz")

    asyncio.run(tell())


def test_older_hashes_are_renewed_when_their_owner_comes(tmp_path: Path) -> None:
    """Without anybody being logged out for it."""

    async def tell(house: House) -> None:
        weak = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        await house.ask(AddPerson(SYSTEM, Person("ann", Role.USER, weak)))
        first, second = house.browser(), house.browser()
        assert (await log_in(first)).status_code == 200
        kept = house.context.view.roster.person("ann").password
        assert kept != weak and not passwords.outdated(kept)
        assert (await log_in(second)).status_code == 200
        assert await who(first) is not None
        assert house.context.view.roster.person("ann").password == kept

    story(tmp_path, tell)


# The first admin


def test_the_link_makes_the_first_admins_account_and_lets_in(tmp_path: Path) -> None:
    async def tell(house: House) -> None:
        code = house.service.setup_code
        said = {"code": code, "name": "ann", "password": PASSWORD}
        weak = await log_in(house.browser(), **{**said, "password": "short"})
        assert weak.status_code == 400 and "at least 10" in weak.text
        browser = house.browser()
        assert (await log_in(browser, **said)).json() == {"name": "ann", "role": "admin"}
        assert await who(browser) == ["ann", "admin", False]
        assert (await log_in(house.browser(), **{**said, "name": "mallory"})).status_code == 403
        (session,) = sessions.sessions_of(house.context, "ann")
        assert session.issued_by == "setup"

    story(tmp_path, tell, admin_token="")
    story(tmp_path, _no_link, admin_token="")


async def _no_link(house: House) -> None:
    """There is an admin now."""
    assert house.service.setup_code == ""
    assert (await log_in(house.browser())).status_code == 200


def test_a_pool_whose_only_admin_is_disabled_prints_a_link(tmp_path: Path) -> None:
    """As after a restored backup: whoever reads the service's log gets back in."""

    async def tell(house: House) -> None:
        await house.person("ann", Role.ADMIN, disabled=True)

    async def again(house: House) -> None:
        assert house.service.setup_code

    story(tmp_path, tell, admin_token="")
    story(tmp_path, again, admin_token="")
