"""The program on the board: it tells the service how the board is, and does what the service says of its lease.

    agent      the loop: report, beat, obey
    link       the beat as a conversation with one of several addresses, that never gives up
    http1      one request at a time over one kept connection
    facts      what the board is         (models, labels, identity)
    telemetry  how it is now             (voltage, firmware)
    counters   what happened to it during a lease
    state      which fence it has seen, kept durably
    gate       who is let in
    enforce    the gate of an enforced board  (ready_to_enforce, dedicated, keys, processes, sweep, places)
    courtesy   what people at the board are told
    tree       reading files that may be missing or full of garbage

The standard library only, Python 3.9 and later, and imports relative to this package: it is shipped alone,
under another name (`bundle`).
"""

from __future__ import annotations

VERSION = "0.1.0"
"""The same as the service's; written here, since the agent is shipped without the rest."""
