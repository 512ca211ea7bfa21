"""Everything that can go wrong, once, for both ends of the wire.

The server answers an error's `code`; the client raises the class that carries it. The docstring of a
class is its default message, and every message or hint says what to do next.

    PiclusterError
      Malformed              the request itself is wrong; nothing was changed
      NotAllowed             who you are does not permit it
        NotAuthenticated     nobody knows who you are
      Refused                the pool says no, and will say no again until something changes
        NotFound  Held  Unsatisfiable  LeaseLost  LeaseConflict  QuotaExceeded  Conflict
      Unavailable            not now; the same request may be repeated safely
      WaitedTooLong          the waiter's own limit is over; it has left the queue
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


class LeaseLost(Refused):
    """The lease has ended; ask for a new one under a new id."""

    code = "lease_lost"


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


def _tree(cls: type[PiclusterError]) -> dict[str, type[PiclusterError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: dict[str, type[PiclusterError]] = _tree(PiclusterError)
"""Which class a `code` from the wire raises at the client."""
