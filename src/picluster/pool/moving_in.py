"""What the first service knew comes in as it was, once: its machines, and who had them locked.

Bringing the same file again changes nothing, whatever has happened here in between: a machine that is known stays as
it is, and an old lock counts only where nobody has had the machine since.
"""

from __future__ import annotations

from picluster.pool import boards, leases, queue
from picluster.pool.commands import MoveIn
from picluster.pool.ledger import Ledger
from picluster.pool.model import Machine


def move_in(ledger: Ledger, said: MoveIn) -> Machine:
    """The machine at an address of the file, locked as it was there if that can still be so."""
    machine = ledger.roster.machine_at(said.report.address) or boards.bring(ledger, said)
    queue.grant(ledger)  # who waits here already is before whoever had it there
    machine = ledger.roster.machines[machine.name]
    if said.lock is None or machine.fence or ledger.roster.obstacle(machine):
        return machine
    return leases.lock_address(ledger, said.lock)
