"""The history of the schema, applied when a store is opened, under its lock.

Expand before you contract: while replicas are upgraded one by one, the older ones go on writing to the newer
schema. So a new column has a server default, and what is no longer used is removed one release later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from picluster.store import StoreProblem

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(connection: Connection) -> None:
    """Bring the schema up to date within the transaction of this connection, which the caller commits.

    Raises `StoreProblem` if a newer version has already migrated it.
    """
    from alembic import command
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = history(connection)
    scripts = ScriptDirectory.from_config(config)
    present = MigrationContext.configure(connection).get_current_revision()
    if present == scripts.get_current_head():
        return
    if present is not None and present not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreProblem(
            f"a newer version has changed the tables of this database (to {present!r})",
            hint="Upgrade this one.",
        )
    command.upgrade(config, "head")


def history(connection: Connection) -> Config:
    """What Alembic's commands need, to work within the transaction of this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
