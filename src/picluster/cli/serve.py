"""`picluster serve`: the service on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from picluster.cli.common import extra


@click.command("serve")
@click.option("--host", help="Address to listen on.  [default: 0.0.0.0]")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on; PORT is honoured.  [default: 1337]"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the embedded database.  [default: picluster-data]",
)
@click.option("--url", help="postgresql://… instead of the embedded database.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True),
    help="TOML file with the commands that switch power.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Private key, PEM.")
def serve_command(**given: object) -> None:
    """Run the service on this machine.

    \b
    picluster serve                        SQLite in ./picluster-data, port 1337
    RPI_APIKEY=… picluster serve           with the old protocol at /api
    picluster serve --url postgresql://…   one of several replicas
    """
    from picluster.errors import Malformed

    with extra("server", "Serving"):
        from picluster.server.serve import run
        from picluster.server.settings import Settings
    try:
        settings = Settings.load({name: value for name, value in given.items() if value is not None})
    except Malformed as problem:
        raise click.UsageError(problem.message) from None
    raise SystemExit(run(settings))
