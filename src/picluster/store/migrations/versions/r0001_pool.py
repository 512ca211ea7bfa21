"""The pool: machines, leases, who holds what, tokens, presence and history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _pool()
    _machines()
    _leases()
    _tokens()
    _presence()
    _events()


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _seconds(*names: str, nullable: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=nullable) for name in names]


def _flag(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean(), nullable=False) for name in names]


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), primary_key=True, nullable=False)


def _pool() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.Integer(), primary_key=True, nullable=False),
        *_number("revision"),
        *_seconds("service_s"),
        *_number("epoch", "epoch_since", "rules_version", "turned_us"),
        *_text("timeline"),
        sa.CheckConstraint("id = 1", name="pool_is_one_row"),
    )
    op.execute(
        "INSERT INTO pool (id, revision, service_s, epoch, epoch_since, rules_version, turned_us, timeline)"
        " VALUES (1, 0, 0, 1, 0, 0, 0, '')"
    )


def _machines() -> None:
    op.create_table(
        "machines",
        _key("name"),
        *_text("id", "address", "mode", "service", "reason", "facts", "board_labels", "labels", "comment"),
        *_text("host_keys", "ssh_user"),
        *_number("ssh_port"),
        *_text("boot_id", "presence"),
        *_seconds("presence_since_s"),
        *_number("seen_epoch"),
        *_text("lease"),
        *_number("fence", "reported_fence"),
        *_flag("reported_closed"),
        *_number("cleaning"),
        *_seconds("cleaning_since_s"),
        *_number("cleaning_failures"),
        *_seconds("delay_until_s"),
        *_number("strange_updates", "registered_us"),
        *_flag("deleted"),
        *_seconds("deleted_s"),
        *_number("revision"),
    )
    op.create_index("machines_by_revision", "machines", ["revision"])


def _leases() -> None:
    op.create_table(
        "leases",
        _key("id"),
        *_text("holder", "selector", "asked", "job"),
        *_number("count", "priority"),
        *_seconds("ttl_s", "wait_s", "not_after_s", nullable=True),
        *_text("on_reboot", "ssh_public_keys"),
        *_seconds("joined_s"),
        *_number("joined_us", "place"),
        *_seconds("renewed_s"),
        *_text("state", "machines"),
        *_number("fence"),
        *_seconds("granted_s"),
        *_number("granted_us"),
        *_flag("confirmed", "ready"),
        *_text("set_aside"),
        *_seconds("set_aside_since_s", nullable=True),
        *_seconds("reboot_until_s"),
        *_text("ended", "ended_by"),
        *_seconds("ended_s"),
        *_number("ended_us"),
        *_text("verdict", "verdict_reasons"),
        *_number("revision"),
    )
    op.create_index("leases_by_revision", "leases", ["revision"])
    op.create_table(
        "holds",
        _key("machine"),
        sa.Column("lease", sa.Text(), sa.ForeignKey("leases.id", name="holds_a_lease"), nullable=False),
    )
    op.create_index("holds_by_lease", "holds", ["lease"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        _key("id"),
        *_text("kind", "name"),
        *_number("role"),
        *_text("digest", "issued_by"),
        *_number("issued_us", "expires_us"),
        *_flag("revoked"),
        *_seconds("revoked_s"),
        *_number("revision"),
    )
    op.create_index("tokens_by_revision", "tokens", ["revision"])


def _presence() -> None:
    op.create_table(
        "presence",
        _key("name"),
        *_seconds("heard_s"),
        *_number("heard_us"),
        *_text("boot_id"),
        *_number("seq"),
        *_text("telemetry"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        *_number("revision", "epoch", "at_us"),
        *_text("kind", "actor", "address", "machine", "lease", "holder", "detail"),
    )
    op.create_index("events_by_revision", "events", ["revision"])
    op.create_index("events_by_machine", "events", ["machine", "revision"])
    op.create_index("events_by_holder", "events", ["holder", "revision"])
    op.create_index("events_by_lease", "events", ["lease", "revision"])
    op.create_index("events_by_time", "events", ["at_us"])
