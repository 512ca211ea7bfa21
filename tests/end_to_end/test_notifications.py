"""Two services on one PostgreSQL, one webhook: told by one of them at a time, and by the other one when that is killed."""

from __future__ import annotations

import re
import threading
import time

from tests.server.conftest import Api
from tests.server.receiver import Received, receiver
from tests.service import ServiceProcess, service, until

ALLOWED = {"PICLUSTER_WEBHOOK_NETWORKS": "127.0.0.0/8"}
FAILED = re.compile(r'^picluster_webhook_events_total\{outcome="failed"\} (\S+)$', re.MULTILINE)
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
    """Whichever replica something happens at: in order; once while all live and answer in time, and at least once when one is
    killed."""
    with (
        receiver() as there,
        service("--url", postgres_url, **ALLOWED) as a,
        service("--url", postgres_url, **ALLOWED) as b,
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
        until(lambda: len(set(reasons(there.taken))) == EVENTS)
        assert list(dict.fromkeys(reasons(there.taken))) == [f"{number:02}" for number in range(EVENTS)]
        failed = sum(failures(replica) for replica in (a, b))
        assert len(there.taken) <= EVENTS + failed
        assert mood.at_once <= 1 + failed
        for number in range(EVENTS, EVENTS + 4):
            apis[1].patch(where, {"service": "quarantined", "reason": f"{number:02}"})
        a.kill()
        until(lambda: len(set(reasons(there.taken))) == EVENTS + 4)
        told = reasons(there.taken)
        assert list(dict.fromkeys(told)) == sorted(set(told))
        for api in apis:
            api.close()


def failures(replica: ServiceProcess) -> float:
    """Attempts that this one has made in vain: each may have arrived all the same, and is then told twice."""
    found = FAILED.search(replica.get("/metrics").text)
    return float(found.group(1)) if found else 0.0


def reasons(messages: list[Received]) -> list[str]:
    return [str(one.json["data"]["detail"]["reason"]) for one in messages]
