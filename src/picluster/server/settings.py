"""Everything an operator can set: flags of `picluster serve`, then the environment (`PICLUSTER_…`)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from picluster.errors import Malformed
from picluster.pool.policy import Policy
from picluster.server.webhooks.reach import Networks

DEFAULT_PORT = 1337
"""The first service's; boards and scripts in the field have it in their address."""

PREFIX = "PICLUSTER_"

ALIKE = 0.8
"""Of 1, how like a setting an unknown variable must be to be taken for a misspelt one: a letter or two."""


def _known(given: Any) -> Any:
    """A misspelt number would leave the rule as it was, and nobody would know."""
    names = [field.name for field in fields(Policy)]
    unknown = [str(name) for name in given if name not in names] if isinstance(given, Mapping) else []
    if unknown:
        raise ValueError(f"has no {', '.join(unknown)}; it has {', '.join(names)}")
    return given


def _sound(policy: Policy) -> Policy:
    """Deadlines that are no numbers never come; and without slack service time would stand still."""
    for name, value in asdict(policy).items():
        if not math.isfinite(value) or value < 0 or (name == "slack_s" and value == 0):
            least = "above 0" if name == "slack_s" else "0 or more"
            raise ValueError(f"{name} must be a number, {least}")
    return policy


def _networks(text: str) -> str:
    try:
        Networks.read(text)
    except ValueError as problem:
        raise ValueError(f"has what is no network: {problem}") from None
    return text


def _proxy(text: str) -> str:
    """Only plain HTTP to the proxy itself; what goes through it is encrypted from end to end where its address says so."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if text and not fits:
        raise ValueError("must be like http://proxy:3128")
    return text


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """One service."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore")

    host: str = "0.0.0.0"  # noqa: S104 - boards have to reach it; TLS and tokens guard it
    """The address to listen on."""
    port: int = Field(DEFAULT_PORT, ge=0, le=65_535, validation_alias=AliasChoices("PICLUSTER_PORT", "PORT"))
    """The port to listen on."""
    data: Path = Path("picluster-data")
    """Folder of the embedded database."""
    url: str = Field("", validation_alias=AliasChoices("PICLUSTER_DATABASE_URL"))
    """postgresql://… for a pool that several replicas serve."""
    api_key: str = Field("", validation_alias=AliasChoices("PICLUSTER_API_KEY", "RPI_APIKEY"))
    """The shared key of the old protocol; unset, that door is closed."""
    admin_token: str = ""
    """The first admin's token, for containers and scripts; unset, a one-time link is printed."""
    public_list: bool = True
    """While the old door is open, whether the list of machines may be read without a login."""
    legacy_ttl_s: float | None = Field(None, ge=60, allow_inf_nan=False)
    """An end for locks of the old protocol; unset, they last until freed."""
    quota: int = Field(50, ge=0)
    """Live leases, waiting and held, that one person may have; 0 for no limit."""
    beat_s: Seconds = 30.0
    """How often boards are told to report."""
    pulse_s: Seconds = 5.0
    """Service time passes at least so often."""
    config: Path | None = Field(None, validation_alias=AliasChoices("PICLUSTER_SERVICE_CONFIG"))
    """A TOML file with what does not fit into variables: the commands that switch power."""
    webhook_networks: Annotated[str, NoDecode, AfterValidator(_networks)] = ""
    """Private networks, comma-separated, that webhooks may reach, as 10.0.0.0/8; unset, only the internet."""
    webhook_proxy: Annotated[str, AfterValidator(_proxy)] = ""
    """The proxy, as http://proxy:3128, by which webhooks reach the internet; it then looks up the names of their hosts."""
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, allow_inf_nan=False)
    """How long the receiver of a webhook may take to answer; whoever tries one waits for 25 s at most."""
    webhook_pause_s: Seconds = 1.0
    """The first pause after a webhook's receiver has failed; doubled each time, up to five minutes."""
    webhook_give_up_s: Seconds = 86_400.0
    """How old news may be that a webhook's receiver has not taken; older ones are given up, which is recorded."""
    policy: Annotated[Policy, BeforeValidator(_known), AfterValidator(_sound)] = Policy()
    tls_cert: Path | None = None
    """A PEM file: the certificate, and those between it and its authority."""
    tls_key: Path | None = None
    """A PEM file: its private key."""
    trusted_proxies: Annotated[str, NoDecode] = ""
    """Addresses and networks, comma-separated, whose X-Forwarded-For is believed."""
    log_format: str = Field("text", pattern="^(text|json)$")
    """Lines for people, or for machines."""
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    """From where on something is worth a line."""

    @classmethod
    def load(cls, given: Mapping[str, Any]) -> Self:
        """Flags that were given, then the environment. Raises `Malformed` that names every bad setting."""
        _raise_misspelt(cls)
        try:
            return cls(**{_accepted(cls, name): value for name, value in given.items()})
        except SettingsError:
            found = {f"{PREFIX}POLICY": f"is not JSON; one number alone is {PREFIX}POLICY__OFFLINE_S=90"}
        except ValidationError as problem:
            found = {
                _typed(cls, error["loc"], given): error["msg"].removeprefix("Value error, ")
                for error in problem.errors()
            }
        message = "; ".join(f"{name}: {what}" for name, what in found.items())
        raise Malformed(
            message, "`picluster serve --help` lists the flags, the README the rest.", fields=found
        )

    @property
    def database(self) -> Path:
        """The file of the embedded database."""
        return self.data / "picluster.db"

    @property
    def legacy_door(self) -> bool:
        return bool(self.api_key)


def variables(settings: type[BaseSettings]) -> dict[str, list[str]]:
    """Field to the variables of the environment that set it; the first that is set wins."""
    found = {}
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [f"{PREFIX}{name.upper()}"]
        found[name] = [str(choice) for choice in choices]
    return found


def _accepted(settings: type[BaseSettings], name: str) -> str:
    """What a field is called when it is given. Not by its own name if it has others: then PICLUSTER_URL, the
    command line's, would be taken for the database's."""
    return variables(settings)[name][0] if settings.model_fields[name].validation_alias else name


def _typed(settings: type[BaseSettings], where: Sequence[int | str], given: Mapping[str, Any]) -> str:
    """A setting as the operator typed it: a flag, or a variable of the environment."""
    first, *rest = (str(part) for part in where)
    field, names = next(item for item in variables(settings).items() if first in (item[0], *item[1]))
    if field in given:
        return "--" + field.replace("_", "-")
    variable = next((name for name in names if name in os.environ), names[0])
    return "__".join([variable, *(part.upper() for part in rest)])


def _raise_misspelt(settings: type[BaseSettings]) -> None:
    """Raises `Malformed` for a variable that is nearly a setting, and would be ignored, as when a list was to be
    closed. What is like none of ours may be the command line's."""
    known = [name for names in variables(settings).values() for name in names if name.startswith(PREFIX)]
    bare = {name.removeprefix(PREFIX): name for name in known}
    for name in sorted(os.environ):
        if name in known or not name.startswith(PREFIX) or name.startswith(f"{PREFIX}POLICY__"):
            continue
        if meant := get_close_matches(name.removeprefix(PREFIX), bare, 1, ALIKE):
            raise Malformed(f"{name} is not a setting; {bare[meant[0]]} is.", "Correct it, or unset it.")
