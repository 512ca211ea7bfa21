"""What a webhook that is paused was to be told before is kept for it: so the pause needs its beginning."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of one that is paused already it is not known since when: it is told what happens after."""
    op.add_column("webhooks", sa.Column("pauses", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.execute("""UPDATE webhooks SET pauses = '[{"since":' || cursor || ',"until": 0}]' WHERE paused""")
