"""The loop on the board: report, beat, obey.

A report says what the board is, how it is, and which fence it has seen. The answer says which lease the board has
now. Obeying is: close what is over, then open what is new, each kept durably first. Then the next beat begins at
once and is held open by the service until there is news, so that news arrives in milliseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from . import facts, identity, labels, telemetry
from .counters import ClockWatch, Counters
from .courtesy import Courtesy
from .firmware import Firmware
from .gate import Gate, NoGate
from .link import Link, NoOrders, chance, jittered
from .log import Log
from .notify import Manager
from .orders import LeaseHere, Orders
from .records import NamedTuple
from .settings import Settings, Unusable
from .state import Fences, Stale
from .tree import Tree
from .voltage import LOOK_S, VoltageWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_WAIT_S = 25.0
"""How long the service holds one call open at most."""
INTERVAL_S = 30.0
"""Until the service has said another."""
MOST_HASTY = 4
"""So many answers in a row may come early and bring nothing new; more, and the service or something before it does not
hold calls open."""
LONGEST_BRAKE_S = 10.0


class Clocks(NamedTuple):
    """Time, as the loop needs it."""

    boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    """Seconds since the boot; it grows over suspensions and restarts of the agent."""
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class Agent:
    """One board's agent. `run` is for ever; `turn` is one round of it."""

    def __init__(
        self,
        settings: Settings,
        tree: Tree,
        link: Link,
        log: Log,
        *,
        gate: Gate | None = None,
        manager: Manager | None = None,
        clocks: Clocks | None = None,
        lot: Callable[[], float] = chance,
        look_s: float = LOOK_S,
    ) -> None:
        self._settings, self._tree, self._link, self._log = settings, tree, link, log
        self._gate = gate or NoGate()
        self._manager = manager or Manager({})
        self._clocks = clocks or Clocks()
        self._lot = lot
        self._look_s = look_s

        self._boot_id = identity.boot_id(tree)
        name = identity.machine_name(settings.name, identity.host_name(tree))
        board = identity.board_id(tree)
        if not name or not board:
            raise Unusable(
                "this board has no name or no identity: set PICLUSTER_NAME, or make /etc/machine-id"
            )
        self.name, self._board = name, board

        self.fences = Fences(os.path.join(_folder(settings.state, log), "fence"))
        self._counters = Counters(os.path.join(settings.state, "counters"), self._boot_id)
        self._clock_watch = ClockWatch()
        self._firmware = Firmware(self._clocks.boot) if settings.vcgencmd else None
        self._courtesy = Courtesy(tree, settings.ssh_user, self._clocks.wall)
        self._voltage: VoltageWatch | None = None

        self._address = settings.address or ""
        self._seq = 0
        self._orders = ""
        self._in_touch = False
        self._interval_s = INTERVAL_S
        self.heard_s: float | None = None
        """When the service answered last."""
        self._hasty = 0
        self._keys: tuple[str, ...] | None = None
        """That the gate lets in, if this process opened it."""
        self._clean = True
        self._begin()

    def _begin(self) -> None:
        """What a restart has to put right before anything is reported."""
        if self.fences.damaged:
            self._log(
                f"the fence file was damaged: fence {self.fences.fence} and all before it count as closed"
            )
        if not self.fences.closed:
            self._counters.resume(self.fences.fence, self._clocks.boot(), self._read())
            self._watch_voltage()
        else:
            # The agent may have died while it cleaned, or its state may have been lost with somebody let in.
            self._clean = self._gate.close(self.fences.fence)

    # The loop

    def run(self) -> None:
        """Until the process is told to end."""
        self._manager.ready()
        try:
            while True:
                pause_s = self.turn()
                self._manager.alive()
                if pause_s:
                    self._manager.sleep(pause_s, self._clocks.sleep)
        finally:
            self.stop()

    def stop(self) -> None:
        """The lease goes on; what only a running agent can keep right is taken away."""
        self._manager.stopping()
        self._stop_voltage()
        self._courtesy.clear()
        self._link.close()

    def turn(self) -> float:
        """Report, beat, obey; how long to wait before the next."""
        # The first beat, also after an outage, is answered at once: it has to learn what holds already.
        wait_s = jittered(min(self._interval_s, LONGEST_WAIT_S), self._lot()) if self._in_touch else 0.0
        began = self._clocks.boot()
        try:
            orders = self._link.beat(self.name, self.report(), wait_s)
        except NoOrders as why:
            self._in_touch = False
            self._log.detail(f"next beat in {why.pause_s:.1f} s")
            return why.pause_s
        now = self._clocks.boot()
        if self.heard_s is not None:
            self._counters.heard(now - self.heard_s, self._interval_s)
        self.heard_s = now
        # News may come as soon as it likes.
        hasty = now - began < wait_s / 2 and orders.orders == self._orders
        self._interval_s, self._orders, self._in_touch = orders.interval_s, orders.orders, True
        self.obey(orders)
        return self._brake(hasty, wait_s)

    def _brake(self, hasty: bool, wait_s: float) -> float:
        """Nothing, unless calls are never held open: then beats would follow each other without end."""
        self._hasty = self._hasty + 1 if hasty else 0
        if self._hasty <= MOST_HASTY:
            return 0.0
        return min(0.2 * 2.0 ** min(self._hasty - MOST_HASTY, 8), wait_s, LONGEST_BRAKE_S)

    # Report

    def report(self) -> dict[str, Any]:
        """All that the service is told, as it is now."""
        if self.fences.closed:
            self._gate.look()
        return {
            "id": self._board,
            "address": self._own_address(),
            "mode": self._gate.mode,
            "boot_id": self._boot_id,
            "seq": self._next_seq(),
            "facts": {**facts.read_facts(self._tree), "cannot_enforce": self._gate.trouble or None},
            "labels": {**labels.found_labels(self._tree), **self._settings.labels},
            "host_keys": facts.host_keys(self._tree),
            "ssh_user": self._gate.ssh_user or self._settings.ssh_user,
            "ssh_port": self._settings.ssh_port,
            "telemetry": self._telemetry(),
            "fence": self.fences.fence,
            "closed": self.fences.closed,
            "clean": self._clean,
            "orders": self._orders,
        }

    def _telemetry(self) -> dict[str, Any]:
        now, wall = self._clocks.boot(), self._clocks.wall()
        if self._clock_watch.stepped(wall, now):
            self._log("the clock of this board was set")
            self._counters.stepped()
        reading = self._read()
        self._counters.look(reading, now, self._alarms())
        return {
            **reading.as_json(),
            "clock_us": int(wall * 1e6),
            "fence_file": "damaged" if self.fences.damaged else "ok",
            **self._counters.as_json(),
        }

    def _read(self) -> telemetry.Reading:
        return telemetry.read(self._tree, self._firmware.bits() if self._firmware else None)

    def _own_address(self) -> str:
        """Where packets to the service leave from; it stays while the connection does."""
        if not self._settings.address and not (self._address and self._link.connected):
            found = identity.own_address(self._link.address.host, self._link.address.port)
            if found and self._address not in ("", found):
                self._log(f"this board's address is {found} now, and was {self._address}")
            self._address = found or self._address or self.name
        return self._address

    def _next_seq(self) -> int:
        """Milliseconds since the boot. Without a boot id they would begin anew unnoticed, so there is no order then."""
        if not self._boot_id:
            return 0
        self._seq = max(int(self._clocks.boot() * 1000), self._seq + 1)
        return self._seq

    # Obey

    def obey(self, orders: Orders) -> None:
        """Bring the board to what the service says, unless what it says is older than what the board has seen."""
        if orders.fence < self.fences.fence:
            self._log.once(
                f"fence {orders.fence} of the service is older than {self.fences.fence}: not obeyed"
            )
            return
        lease = orders.lease
        if not self.fences.closed and (lease is None or lease.fence != self.fences.fence):
            self._close(self.fences.fence)
        elif orders.cleaning > self.fences.fence:
            self._close(orders.cleaning)
        elif not self._clean:
            self._clean = self._gate.close(self.fences.fence)
        if lease is None:
            self._courtesy.clear()
        elif self._clean:
            self._open(lease)

    def _open(self, lease: LeaseHere) -> None:
        known = not self.fences.closed and self.fences.fence == lease.fence
        if not (known and lease.keys == self._keys) and not self._let_in(lease):
            self._courtesy.clear()
            return
        if not known:
            self._log(f"fence {lease.fence} opens: {lease.holder}{f', {lease.job}' if lease.job else ''}")
            self._counters.begin(lease.fence, self._clocks.boot(), self._read())
            self._watch_voltage()
        self._courtesy.show(lease)

    def _let_in(self, lease: LeaseHere) -> bool:
        """Keep the fence, then open the gate."""
        try:
            self._remember_open(lease.fence)
        except (Stale, OSError) as problem:
            self._log.once(f"fence {lease.fence} does not open: {problem}")
            return False
        try:
            self._gate.open(lease.fence, lease.keys)
        except OSError as problem:
            self._log(f"fence {lease.fence} does not open: {problem}")
            self._close(lease.fence)
            return False
        self._keys = lease.keys
        return True

    def _remember_open(self, fence: int) -> None:
        """Nothing depends on it on an advisory board, which may have nowhere to write."""
        try:
            self.fences.open(fence)
        except OSError as problem:
            if self._gate.mode != "advisory":
                raise
            self._log.once(f"the fence cannot be kept in {self._settings.state}: {problem}")
            self.fences.open(fence, durable=False)

    def _close(self, fence: int) -> None:
        """Durably, then let nobody in and clean up, and count to the end."""
        was_open = not self.fences.closed
        try:
            self.fences.close(fence)
        except Stale as problem:
            self._log.once(str(problem))
            return
        except OSError as problem:
            self._log.once(f"the fence cannot be kept in {self._settings.state}: {problem}")
        self._keys = None
        self._clean = self._gate.close(fence)
        if was_open:
            self._log(f"fence {fence} is closed{'' if self._clean else ', and not clean'}")
            self._counters.end(self._read(), self._clocks.boot(), self._alarms())
        self._stop_voltage()

    # Voltage

    def _watch_voltage(self) -> None:
        alarm = telemetry.alarm_file(self._tree)
        if self._voltage is None and alarm:
            self._voltage = VoltageWatch(self._tree.at(alarm), self._look_s)
            self._voltage.start()

    def _stop_voltage(self) -> None:
        if self._voltage:
            self._voltage.stop()
            self._voltage = None

    def _alarms(self) -> int | None:
        return self._voltage.count if self._voltage and self._voltage.readable else None


def _folder(folder: str, log: Log) -> str:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as problem:
        log.once(f"{folder} cannot be made: {problem.strerror}")
    return folder
