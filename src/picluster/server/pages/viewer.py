"""Who looks at a page: a person with a role, or nobody; and how they like their pages."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from picluster.pool.model import LEGACY_PREFIX, Actor, Role
from picluster.server.access.gate import require
from picluster.server.access.sessions import session_actor
from picluster.server.context import Context

THEMES = ("auto", "light", "dark")
DENSITIES = ("normal", "compact")
COLUMNS = ("usual", "all")
LOOK_COOKIE = "picluster_look"
"""What somebody chose for this browser: theme, density and columns, joined with dots. It says nothing about who they are."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the pages are to look in this browser."""

    theme: str = "auto"
    density: str = "normal"
    columns: str = "usual"

    @classmethod
    def of(cls, request: Request) -> Look:
        """From the cookie; whatever is not a known word is as if it was not there."""
        said = request.cookies.get(LOOK_COOKIE, "").split(".")
        chosen = [
            next((word for word in words if word in said), words[0]) for words in (THEMES, DENSITIES, COLUMNS)
        ]
        return cls(*chosen)

    def __str__(self) -> str:
        return f"{self.theme}.{self.density}.{self.columns}"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. Two viewers of one kind see the same rows, so a row is made once for each kind and not for each viewer."""

    name: str = ""
    role: Role = Role.NOBODY

    @property
    def known(self) -> bool:
        return self.role >= Role.VIEWER

    @property
    def acts(self) -> bool:
        return self.role >= Role.USER

    @property
    def operates(self) -> bool:
        return self.role >= Role.OPERATOR

    @property
    def legacy(self) -> bool:
        return self.name.startswith(LEGACY_PREFIX)

    @property
    def mark(self) -> str:
        """Name and role: a page that was made for another one is not this viewer's."""
        return f"{self.role.name.lower()} {self.name}" if self.name else ""

    @property
    def kind(self) -> tuple[bool, bool, bool]:
        return (self.known, self.acts, self.operates)

    @property
    def administers(self) -> bool:
        return self.role >= Role.ADMIN


def actor_of(request: Request) -> Actor | None:
    """Whose session this browser has."""
    return session_actor(request)


def viewer_of(request: Request) -> Viewer:
    """Who looks at this page; somebody without a name if nobody has logged in."""
    actor = actor_of(request)
    return Viewer(actor.name, actor.role) if actor else Viewer()


def known_viewer(request: Request) -> Viewer:
    """Who looks at a page that is for those who have logged in. Raises `NotAuthenticated`."""
    require(actor_of(request), Role.VIEWER)
    return viewer_of(request)


def reader(request: Request, context: Context) -> Viewer:
    """Who looks at the list of machines. Raises `NotAuthenticated` for somebody to whom it is not open."""
    viewer = viewer_of(request)
    return viewer if may_read(context, viewer) else known_viewer(request)


def may_read(context: Context, viewer: Viewer) -> bool:
    """Whether the list of machines is open to this viewer: to everybody while the old door is, unless a setting closes it."""
    return viewer.known or (context.settings.legacy_door and context.settings.public_list)
