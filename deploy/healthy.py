"""The container's health check: does the service of this container answer? There is no curl in the image."""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request

PATIENCE_S = 4.0
"""Below the `--timeout` of HEALTHCHECK, so that the reason is still printed."""


def address(environ: dict[str, str]) -> str:
    """Where `picluster serve` listens by the same variables, seen from within."""
    host = environ.get("PICLUSTER_HOST", "")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - asked, not listened at
        host = "127.0.0.1"
    port = environ.get("PICLUSTER_PORT") or environ.get("PORT") or "1337"
    scheme = "https" if environ.get("PICLUSTER_TLS_CERT") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/healthz"


def main() -> int:
    itself = ssl.create_default_context()
    itself.check_hostname, itself.verify_mode = False, ssl.CERT_NONE  # its certificate is for other names
    try:
        urllib.request.urlopen(address(dict(os.environ)), timeout=PATIENCE_S, context=itself).close()  # noqa: S310
    except OSError as problem:
        print(f"no answer: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
