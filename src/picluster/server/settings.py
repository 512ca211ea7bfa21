"""Everything an operator can set: flags of `picluster serve`, then the environment (`PICLUSTER_…`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from picluster.errors import Malformed
from picluster.pool.policy import Policy

DEFAULT_PORT = 1337
"""The first service's; boards and scripts in the field have it in their address."""


class Settings(BaseSettings):
    """One service."""

    model_config = SettingsConfigDict(
        env_prefix="PICLUSTER_", env_nested_delimiter="__", populate_by_name=True, extra="ignore"
    )

    host: str = "0.0.0.0"  # noqa: S104 - boards have to reach it; TLS and tokens guard it
    port: int = Field(DEFAULT_PORT, ge=0, le=65_535, validation_alias=AliasChoices("PICLUSTER_PORT", "PORT"))
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
    legacy_ttl_s: float | None = Field(None, ge=60)
    """An end for locks of the old protocol; unset, they last until freed."""
    quota: int = Field(50, ge=0)
    """Live leases, waiting and held, that one person may have; 0 for no limit."""
    beat_s: float = Field(30.0, gt=0)
    """How often boards are told to report."""
    pulse_s: float = Field(5.0, gt=0)
    """Service time passes at least so often."""
    policy: Policy = Policy()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: Annotated[str, NoDecode] = ""
    """Addresses, comma-separated, whose X-Forwarded-For is believed."""
    log_format: str = Field("text", pattern="^(text|json)$")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")

    @classmethod
    def load(cls, given: Mapping[str, Any]) -> Self:
        """Flags that were given, then the environment. Raises `Malformed` that names every bad setting."""
        try:
            return cls(**given)
        except ValidationError as problem:
            found = {".".join(str(part) for part in error["loc"]): error["msg"] for error in problem.errors()}
            message = "; ".join(f"{name}: {what}" for name, what in found.items())
            raise Malformed(message, "`picluster serve --help` lists the settings.", fields=found) from None

    @property
    def legacy_door(self) -> bool:
        return bool(self.api_key)
