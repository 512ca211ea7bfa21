"""Two services on one PostgreSQL, one webhook: told by one of them at a time, and by the other one when that is killed."""

from __future__ import annotations

import threading
import time

from tests.server.conftest import Api
from tests.server.receiver import Received, receiver
from tests.service import service, until

HASTE = {"PICLUSTER_WEBHOOK_NETWORKS": "127.0.0.0/8", "PICLUSTER_WEBHOOK_TIMEOUT_S": "1"}
EVENTS = 24


class OneAtATime:
    """A receiver's mood: yes, after a moment in which another message would be noticed."""

    def __init__(self) -> None:
        self.at_once = 0
        self._inside = 0
        self._lock = threading.Lock()

    def __call__(self, message: Received) -> int:
        with self._lock:
            self._inside += 1
            self.at_once = max(self.at_once, self._inside)
        time.sleep(0.02)
        with self._lock:
            self._inside -= 1
        return 204


def test_one_replica_tells_and_another_takes_over(postgres_url: str) -> None:
    """Whichever replica something happens at: once and in order while all live, at least once when one is killed."""
    with (
        receiver() as there,
        service("--url", postgres_url, **HASTE) as a,
        service("--url", postgres_url, **HASTE) as b,
    ):
        there.mood = mood = OneAtATime()
        apis = [Api(a.address), Api(b.address)]
        board = apis[0].board()
        assert apis[0].post("webhooks", {"name": "ci", "url": there.url}).status_code == 201
        where = f"machines/{board.name}"
        until(lambda: apis[1].get(where).status_code == 200)
        for number in range(EVENTS):
            answer = apis[number % 2].patch(where, {"service": "quarantined", "reason": f"{number:02}"})
            assert answer.status_code == 200
        until(lambda: len(there.taken) == EVENTS)
        assert reasons(there.taken) == [f"{number:02}" for number in range(EVENTS)]
        assert mood.at_once == 1
        for number in range(EVENTS, EVENTS + 4):
            apis[1].patch(where, {"service": "quarantined", "reason": f"{number:02}"})
        a.kill()
        until(lambda: len(set(reasons(there.taken))) == EVENTS + 4)
        told = reasons(there.taken)
        assert list(dict.fromkeys(told)) == sorted(set(told))
        for api in apis:
            api.close()


def reasons(messages: list[Received]) -> list[str]:
    return [str(one.json["data"]["detail"]["reason"]) for one in messages]
