"""One running service for each file of stories, and short ways to ask it something."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.service import ADMIN, PATIENCE_S, ServiceProcess, on_sqlite, service

ROLES = ("viewer", "user", "operator", "admin")


class Api:
    """`/api/v1` of one service: as the admin, unless another token is given ("" for none)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = httpx2.Client(base_url=address, timeout=PATIENCE_S)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._client.close()

    def send(
        self, method: str, path: str, body: Any = None, token: str = ADMIN, **more: Any
    ) -> httpx2.Response:
        """One call; a path that does not begin with a slash is one of the API's."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        where = path if path.startswith("/") else f"/api/v1/{path}"
        return self._client.request(method, where, headers=headers, **more)

    def get(self, path: str, token: str = ADMIN, **more: Any) -> httpx2.Response:
        return self.send("GET", path, None, token, **more)

    def put(self, path: str, body: Any = None, token: str = ADMIN, **more: Any) -> httpx2.Response:
        return self.send("PUT", path, body, token, **more)

    def post(self, path: str, body: Any = None, token: str = ADMIN, **more: Any) -> httpx2.Response:
        return self.send("POST", path, body, token, **more)

    def patch(self, path: str, body: Any = None, token: str = ADMIN, **more: Any) -> httpx2.Response:
        return self.send("PATCH", path, body, token, **more)

    def delete(self, path: str, token: str = ADMIN, **more: Any) -> httpx2.Response:
        return self.send("DELETE", path, None, token, **more)

    def stream(self, path: str, token: str = ADMIN, **headers: str) -> Any:
        """An answer that is read while it comes."""
        headers = {"Authorization": f"Bearer {token}", **headers}
        return self._client.stream("GET", f"/api/v1/{path}", headers=headers)

    def token(self, role: str, name: str = "", **more: Any) -> str:
        """A new token of a role, or of the kind agent or join; of somebody new unless a name is given."""
        name = name or f"{role}-{next(self._numbers)}"
        what = {"role": role} if role in ROLES else {"kind": role}
        made = self.post("tokens", {"name": name, **what, **more})
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def revision(self) -> int:
        return int(self.get("whoami").json()["revision"])

    def board(self, **said: Any) -> Board:
        """A new board that has beaten once."""
        board = Board(self, f"board-{uuid.uuid4().hex[:12]}")
        board.beat(**said)
        return board

    def machine(self, name: str) -> dict[str, Any]:
        return dict(self.get(f"machines/{name}").json())


class Board:
    """A board's side of the conversation: what it says of itself stays as it is until it is told otherwise."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self.name = name
        self.token = api.token("agent", name)
        self.says: dict[str, Any] = {"id": f"serial-{name}", "address": f"{name}.lab", "boot_id": "first"}

    def beat(self, wait: float = 0, **said: Any) -> dict[str, Any]:
        self.says.update(said)
        answer = self._api.post(f"machines/{self.name}/beat?wait={wait}", self.says, self.token)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def fresh_lease() -> str:
    """The path of a lease that does not exist yet."""
    return f"leases/{uuid.uuid4()}"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose boards do not fall silent while the file runs."""
    with service(*on_sqlite(tmp_path_factory.mktemp("pool")), PICLUSTER_POLICY__OFFLINE_S="3600") as running:
        yield running


@pytest.fixture(scope="module")
def api(pool: ServiceProcess) -> Iterator[Api]:
    asking = Api(pool.address)
    yield asking
    asking.close()


@pytest.fixture
def board(api: Api) -> Board:
    """A board of its own for each test."""
    return api.board()


# Pages


class Browser:
    """Somebody with a session; forms are sent as their own pages send them."""

    def __init__(self, api: Api, role: str) -> None:
        self.name = f"{role}-{uuid.uuid4().hex[:6]}"
        self.token = api.token(role, self.name)
        self._client = httpx2.Client(
            base_url=api.address, timeout=PATIENCE_S, headers={"Accept": "text/html"}
        )
        self._own = {"Origin": api.address}
        assert self.send("/login", token=self.token).status_code == 303

    def see(self, path: str) -> httpx2.Response:
        return self._client.get(path)

    def part(self, path: str) -> httpx2.Response:
        """As the script of a page that is open looks again."""
        return self._client.get(path, headers={"HX-Request": "true"})

    def send(self, path: str, **fields: str) -> httpx2.Response:
        return self._client.post(path, data=fields, headers=self._own)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[str]]:
        """What an open page is told, line by line."""
        with self._client.stream("GET", path) as answer:
            yield answer.iter_lines()

    def forge(self, path: str, **fields: str) -> httpx2.Response:
        """As a form on somebody else's page does."""
        return self._client.post(path, data=fields, headers={"Origin": "https://elsewhere.example"})

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def operator(api: Api) -> Iterator[Browser]:
    browser = Browser(api, "operator")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def user(api: Api) -> Iterator[Browser]:
    browser = Browser(api, "user")
    yield browser
    browser.close()


def words(answer: httpx2.Response) -> str:
    """What one reads, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
