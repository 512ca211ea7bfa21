"""What a board downloads to join: the installer, with this service's own address in it, and the agent as one file."""

from __future__ import annotations

import hashlib
from functools import cache

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster import joining
from picluster.agent import bundle

router = APIRouter(include_in_schema=False)

AS_IT_IS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
"""Asked for anew each time: an installer of yesterday knows the digest of yesterday's agent."""


@cache
def agent() -> tuple[bytes, str]:
    """The file, and its SHA-256. The same sources give the same bytes, so all replicas of one version agree."""
    archive = bundle.archive()
    return archive, hashlib.sha256(archive).hexdigest()


@router.get("/install.sh")
def install_script(request: Request) -> Response:
    """The installer, for `| sudo sh`. An address that is none is left out of it; `--url` says it then."""
    script = joining.install_script(own_address(request), agent()[1])
    return Response(script, media_type="text/x-shellscript", headers={**AS_IT_IS, "Vary": "Host"})


@router.get("/picluster-agent.pyz")
def agent_file(request: Request) -> Response:
    """The agent, for any Python from 3.9."""
    archive, digest = agent()
    headers = {**AS_IT_IS, "ETag": f'"{digest}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(archive, media_type="application/octet-stream", headers=headers)


def own_address(request: Request) -> str:
    """As whoever asks reaches this service. The scheme is a trusted proxy's word, where there is one."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}"
