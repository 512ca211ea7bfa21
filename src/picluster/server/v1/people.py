"""Accounts over HTTP, and a token for whoever knows a password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from picluster.pool.commands import ForgetPerson
from picluster.pool.model import Actor, Person
from picluster.server.access import accounts
from picluster.server.present import token_answer
from picluster.server.v1.common import Admin, InContext, Limit, Viewer, answer
from picluster.server.v1.tokens import issue
from picluster.wire import (
    PERSONAL_TOKEN_S,
    LoginRequest,
    PersonAmendment,
    PersonAnswer,
    PersonRequest,
    TokenAnswer,
    TokenRequest,
    raise_problems,
)

router = APIRouter(tags=["access"])


def person_answer(person: Person) -> PersonAnswer:
    return PersonAnswer(
        person.name,
        person.role.name.lower(),
        person.disabled,
        bool(person.password),
        person.created_us,
        person.created_by,
        person.revision,
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


@router.post("/login", response_model=TokenAnswer, status_code=201)
async def login(
    ask: LoginRequest, context: InContext, address: Annotated[str, Depends(_address)]
) -> Response:
    """Name and password for a personal token with the role of the account, good for 90 days. Its text is in this answer
    and nowhere else. Browsers log in on a page instead."""
    raise_problems(ask.problems())
    person = await accounts.proven(context, ask.name, ask.password, address)
    wanted = TokenRequest(person.name, "person", person.role.name.lower(), expires_in_s=PERSONAL_TOKEN_S)
    actor = Actor(person.name, person.role, address)
    label = f"login: {ask.label}" if ask.label else "login"
    token, text = await issue(context, actor, wanted, label=label, proven=person.password)
    return answer(token_answer(token, text), 201)


@router.get("/people", response_model=list[PersonAnswer])
async def list_people(context: InContext, actor: Admin, limit: Limit = 1000, after: str = "") -> Response:
    """Accounts by name; the next page begins behind `after`."""
    people = sorted(context.view.roster.people.items())
    found = [person_answer(person) for key, person in people if key > after.casefold()]
    return answer(found[:limit])


@router.post("/people", response_model=PersonAnswer, status_code=201)
async def add_person(ask: PersonRequest, context: InContext, actor: Admin) -> Response:
    """An account for somebody."""
    return answer(person_answer(await accounts.add(context, actor, ask)), 201)


@router.patch("/people/{name}", response_model=PersonAnswer)
async def amend_person(name: str, ask: PersonAmendment, context: InContext, actor: Viewer) -> Response:
    """Change an account, as an admin; or the password of your own, with the present one. Another password ends the
    account's sessions; disabling it, its personal tokens as well."""
    return answer(person_answer(await accounts.amend(context, actor, name, ask)))


@router.delete("/people/{name}", response_model=PersonAnswer)
async def forget_person(name: str, context: InContext, actor: Admin) -> Response:
    """An account ends, with its sessions and personal tokens. Its leases stay until they are given back."""
    return answer(person_answer(await context.coordinator.ask(ForgetPerson(actor, name))))
