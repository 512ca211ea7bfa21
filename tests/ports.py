"""Ports for programs that want a number before they start."""

from __future__ import annotations

import random
import socket

PORTS = range(15_000, 32_000)
"""Below Linux's ephemeral ports (32768): no outgoing connection takes one while the program that is to have it is down, and
nobody who asks for any port, as another test does meanwhile, is given it."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of 100 ports in {PORTS} is free")
