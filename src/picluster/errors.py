"""Everything that can go wrong, once, for both ends of the wire.

The server answers an error's `code`; the client raises the class that carries it. The docstring of a
class is its default message, and every message or hint says what to do next.

    PiclusterError
      Malformed              the request itself is wrong; nothing was changed
      NotAllowed             who you are does not permit it
        NotAuthenticated     nobody knows who you are
          WrongPassword
      Refused                the pool says no, and will say no again until something changes
        NotFound  Held  Unsatisfiable  LeaseLost  LeaseConflict  QuotaExceeded  Conflict
      Unavailable            not now; the same request may be repeated safely
      WaitedTooLong          the waiter's own limit is over; it has left the queue
      MachineTrouble         the pool is well, but the machine itself or the way to it is not; never on the wire
        NotReached  WrongHost  NotLetIn  ConnectionLost  TransferFailed
      CommandFailed          a command on a machine did not end well; never on the wire
"""

from __future__ import annotations

from typing import Any, ClassVar


class PiclusterError(Exception):
    """Something went wrong in picluster."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str = "", hint: str = "", **details: Any) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        self.details = details
        super().__init__(self.message)

    def as_json(self) -> dict[str, Any]:
        """The body of the answer on the wire: `{"code", "message", "hint", ...details}`."""
        return {"code": self.code, "message": self.message, "hint": self.hint, **self.details}


class Malformed(PiclusterError):
    """The request cannot be understood; nothing was changed."""

    code = "malformed"
    status = 400


class NotAllowed(PiclusterError):
    """Your role does not permit this."""

    code = "not_allowed"
    status = 403


class NotAuthenticated(NotAllowed):
    """This needs a login: send a token as `Authorization: Bearer TOKEN`."""

    code = "not_authenticated"
    status = 401


class WrongPassword(NotAuthenticated):
    """The name or the password is wrong."""

    code = "wrong_password"


class Refused(PiclusterError):
    """The pool refused this."""

    code = "refused"
    status = 409


class NotFound(Refused):
    """There is no such thing in the pool."""

    code = "not_found"
    status = 404


class Held(Refused):
    """Somebody else has it."""

    code = "held"


class Unsatisfiable(Refused):
    """Not enough registered machines match, so waiting would not help."""

    code = "unsatisfiable"


ENDINGS = {
    "released": "given back",
    "cancelled": "given up",
    "taken_back": "taken back",
    "expired": "expired, since it was not renewed in time",
    "unconfirmed": "granted after waiting, and not confirmed in time",
    "gave_up": "nobody asked for it any more while it waited",
    "wait_over": "it had waited for as long as it wanted to",
    "not_after": "its hard limit was reached",
    "reboot": "its machine rebooted, and it was not to be kept over that",
    "machine_lost": "its machine has been offline for too long",
    "machine_merged": "its machine turned out to be another one",
    "evicted": "its machine was taken out of service, with whoever had it",
    "board_closed": "its board closed it by itself",
    "history_went_back": "the service's database went back in time",
}
"""Why a lease ended: the API's words, and those for people."""


class LeaseLost(Refused):
    """The lease has ended; ask for a new one under a new id."""

    code = "lease_lost"

    @classmethod
    def because(cls, ended: str, ended_by: str, holder: str) -> LeaseLost:
        """Of a lease of this holder that ended like this; who ended it is named where it was a third one."""
        by = f" by {ended_by}" if ended_by not in ("", "picluster", holder) else ""
        why = ENDINGS.get(ended, ended)
        hint = "Ask for a new lease under a new id."
        return cls(f"The lease has ended: {why}{by}.", hint, ended=ended, ended_by=ended_by)


class LeaseConflict(Refused):
    """A lease with this id was asked for by somebody else or with another body."""

    code = "lease_conflict"


class QuotaExceeded(Refused):
    """You have as many live leases as one person may have."""

    code = "quota"


class Conflict(Refused):
    """The present state does not allow this."""

    code = "conflict"


class Unavailable(PiclusterError):
    """The service cannot answer now; the same request may be repeated safely."""

    code = "unavailable"
    status = 503


class WaitedTooLong(PiclusterError):
    """The time you were ready to wait is over."""

    code = "waited_too_long"
    status = 408


class MachineTrouble(PiclusterError):
    """Something is wrong with a machine, or with the way to it."""

    code = "machine_trouble"


class NotReached(MachineTrouble):
    """The machine did not answer over SSH."""

    code = "not_reached"


class WrongHost(MachineTrouble):
    """Whoever answered is not known to be the machine."""

    code = "wrong_host"


class NotLetIn(MachineTrouble):
    """The machine does not let us in."""

    code = "not_let_in"


class ConnectionLost(MachineTrouble):
    """The connection to the machine broke off."""

    code = "connection_lost"


class TransferFailed(MachineTrouble):
    """Not everything could be copied."""

    code = "transfer_failed"


class CommandFailed(PiclusterError):
    """A command on a machine did not end with 0."""

    code = "command_failed"


def _tree(cls: type[PiclusterError]) -> dict[str, type[PiclusterError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: dict[str, type[PiclusterError]] = _tree(PiclusterError)
"""Which class a `code` from the wire raises at the client."""
