"""Share a pool of Raspberry Pis: ask for a board, wait your turn, use it alone, give it back.

from picluster import Client

with Client() as cluster:
    with cluster.lease("model:pi5", job="nightly") as lease:
        print(lease.machine.address)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from picluster.client.aio import AsyncClient as AsyncClient
    from picluster.client.aio import AsyncLease as AsyncLease
    from picluster.client.boards import PiBoardEntity as PiBoardEntity
    from picluster.client.boards import PiBoardTable as PiBoardTable
    from picluster.client.sync import Client as Client
    from picluster.client.sync import Lease as Lease
    from picluster.errors import CommandFailed as CommandFailed
    from picluster.errors import Conflict as Conflict
    from picluster.errors import ConnectionLost as ConnectionLost
    from picluster.errors import Held as Held
    from picluster.errors import LeaseConflict as LeaseConflict
    from picluster.errors import LeaseLost as LeaseLost
    from picluster.errors import MachineTrouble as MachineTrouble
    from picluster.errors import Malformed as Malformed
    from picluster.errors import NotAllowed as NotAllowed
    from picluster.errors import NotAuthenticated as NotAuthenticated
    from picluster.errors import NotFound as NotFound
    from picluster.errors import NotLetIn as NotLetIn
    from picluster.errors import NotReached as NotReached
    from picluster.errors import PiclusterError as PiclusterError
    from picluster.errors import QuotaExceeded as QuotaExceeded
    from picluster.errors import Refused as Refused
    from picluster.errors import TransferFailed as TransferFailed
    from picluster.errors import Unavailable as Unavailable
    from picluster.errors import Unsatisfiable as Unsatisfiable
    from picluster.errors import WaitedTooLong as WaitedTooLong
    from picluster.errors import WrongHost as WrongHost
    from picluster.runner.blocking import Board as Board
    from picluster.runner.blocking import Ran as Ran
    from picluster.runner.remote import RemoteRunner as RemoteRunner

_WHERE = {
    "Client": "picluster.client.sync",
    "Lease": "picluster.client.sync",
    "AsyncClient": "picluster.client.aio",
    "AsyncLease": "picluster.client.aio",
    "PiBoardTable": "picluster.client.boards",
    "PiBoardEntity": "picluster.client.boards",
    "Board": "picluster.runner.blocking",
    "Ran": "picluster.runner.blocking",
    "RemoteRunner": "picluster.runner.remote",
} | dict.fromkeys(
    """PiclusterError Malformed NotAllowed NotAuthenticated Refused NotFound Held Unsatisfiable LeaseLost
    LeaseConflict QuotaExceeded Conflict Unavailable WaitedTooLong MachineTrouble NotReached WrongHost NotLetIn
    ConnectionLost TransferFailed CommandFailed""".split(),
    "picluster.errors",
)
"""Loaded when asked for: the agent on a board must not load the client."""

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module 'picluster' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
