"""Webhooks, each with how far it has been told; and whether the pool is crowded."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pool", sa.Column("crowded", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_table(
        "webhooks",
        sa.Column("name", sa.Text(), primary_key=True, nullable=False),
        *_columns(sa.Text, "kind", "url", "notices", "secret", "created_by", "courier", "attempts"),
        *_columns(sa.Boolean, "paused", "deleted"),
        *_columns(sa.BigInteger, "created_us", "cursor", "failures", "failing_since_us"),
        *_columns(sa.BigInteger, "delivered", "given_up", "revision"),
        *_columns(sa.Double, "courier_until_s", "retry_s", "deleted_s"),
    )
    op.create_index("webhooks_by_revision", "webhooks", ["revision"])


def _columns(kind: type[sa.types.TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind(), nullable=False) for name in names]
