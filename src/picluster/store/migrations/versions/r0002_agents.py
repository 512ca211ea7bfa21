"""What boards say of themselves: health, identity in doubt, verdicts, join tokens, and samples."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MEASURES = ("temperature", "load", "mem_available", "disk_free")
MARKS = ("throttled", "under_voltage", "rebooted")


def upgrade() -> None:
    _add("machines", sa.Boolean, "false", "by_rule")
    _add("machines", sa.Text, "'[]'", "ailing", "claimed_host_keys", "judging")
    _add("machines", sa.Text, "''", "claimed_id", "former_boot_id")
    _add("machines", sa.BigInteger, "0", "setbacks", "stumbles")
    _add("machines", sa.Double, "0", "ailing_since_s", "setbacks_since_s", "stumbles_since_s", "powered_s")
    _add("leases", sa.Text, "'[]'", "awaiting")
    _add("tokens", sa.BigInteger, "0", "uses_left")
    _add("tokens", sa.Boolean, "false", "approve")
    _samples("samples", [*_reals(*MEASURES)])
    spans = [f"{name}_{part}" for name in MEASURES for part in ("min", "mean", "max")]
    _samples("thinned", [sa.Column("count", sa.BigInteger(), nullable=False), *_reals(*spans)])


def _add(table: str, kind: type[sa.types.TypeEngine[Any]], default: str, *names: str) -> None:
    """Columns that rows of before have empty; the default is of no use afterwards, and does no harm."""
    for name in names:
        op.add_column(table, sa.Column(name, kind(), nullable=False, server_default=sa.text(default)))


def _reals(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Double(), nullable=True) for name in names]


def _samples(table: str, columns: list[sa.Column[Any]]) -> None:
    op.create_table(
        table,
        sa.Column("machine", sa.Text(), primary_key=True, nullable=False),
        sa.Column("at_us", sa.BigInteger(), primary_key=True, nullable=False, autoincrement=False),
        *columns,
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in MARKS),
    )
    op.create_index(f"{table}_by_time", table, ["at_us"])
