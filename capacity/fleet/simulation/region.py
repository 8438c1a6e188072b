"""The machines of a region and the calls on them. No clock: who calls knows what time it is.

Machines that take calls stand in a list by how many they hold, so that the least loaded one is found without looking at
all of them: a day of a large fleet has millions of calls.
"""

import random
from typing import Literal

from capacity.fleet.simulation.scenario import Balancer

State = Literal["starting", "ready", "draining"]


class Machine:
    """One machine. `calls` holds the end of each call by its number."""

    __slots__ = ("calls", "number", "state")

    def __init__(self, number: int) -> None:
        self.number = number
        self.state: State = "starting"
        self.calls: dict[int, float] = {}


class Machines:
    """Every machine that is paid for."""

    def __init__(self, slots: int, balancer: Balancer, chance: random.Random) -> None:
        self.machines: dict[int, Machine] = {}
        self.streams = 0
        self._slots, self._balancer, self._chance = slots, balancer, chance
        self._numbers = 0
        self._ready: list[dict[int, Machine]] = [{} for _ in range(slots + 1)]
        """Those that take calls, by how many they hold."""
        self._least = 0
        """No machine that takes calls holds fewer."""
        self.ready: list[Machine] = []
        """Those that take calls."""

    # --- calls --------------------------------------------------------------------------------------

    def place(self) -> Machine | None:
        """Where the next call goes; None: it is refused."""
        match self._balancer:
            case "least_loaded":
                return self._least_loaded()
            case "pack":
                return next((one for held in reversed(self._ready[:-1]) for one in held.values()), None)
        if not self.ready:
            return None
        chosen = self._chance.choice(self.ready)
        if len(chosen.calls) < self._slots:
            return chosen
        if self._balancer == "blind":  # a proxy that asks no second server
            return None
        room = [machine for machine in self.ready if len(machine.calls) < self._slots]
        return self._chance.choice(room) if room else None

    def _least_loaded(self) -> Machine | None:
        while self._least < self._slots:
            held = self._ready[self._least]
            if held:
                return next(iter(held.values()))
            self._least += 1
        return None

    def begin(self, machine: Machine, call: int, until: float) -> None:
        """A call is on a machine."""
        self._leave_list(machine)
        machine.calls[call] = until
        self._join_list(machine)
        self.streams += 1

    def end(self, machine: Machine, call: int) -> None:
        """A call is over, unless its machine was lost before."""
        if call not in machine.calls:
            return
        self._leave_list(machine)
        del machine.calls[call]
        self._join_list(machine)
        self.streams -= 1
        if machine.state == "draining" and not machine.calls:
            self.machines.pop(machine.number, None)

    def _join_list(self, machine: Machine) -> None:
        if machine.state == "ready":
            load = len(machine.calls)
            self._ready[load][machine.number] = machine
            self._least = min(self._least, load)

    def _leave_list(self, machine: Machine) -> None:
        self._ready[len(machine.calls)].pop(machine.number, None)

    # --- machines -----------------------------------------------------------------------------------

    def add(self) -> Machine:
        """Another machine, which takes no calls yet."""
        self._numbers += 1
        machine = self.machines[self._numbers] = Machine(self._numbers)
        return machine

    def take_calls(self, machine: Machine) -> None:
        """A machine takes calls from now on."""
        machine.state = "ready"
        self.ready.append(machine)
        self._join_list(machine)

    def lose(self, machine: Machine) -> list[float]:
        """A machine is gone; the ends of the calls that it held."""
        self._stop(machine)
        self.machines.pop(machine.number, None)
        ends = list(machine.calls.values())
        machine.calls.clear()
        self.streams -= len(ends)
        return ends

    def drain(self) -> bool:
        """Take no more calls on the emptiest machine; whether there was one to spare."""
        if len(self.ready) < 2:
            return False
        emptiest = min(self.ready, key=_load)
        self._stop(emptiest)
        emptiest.state = "draining"
        if not emptiest.calls:
            self.machines.pop(emptiest.number, None)
        return True

    def undrain(self) -> bool:
        """Take calls again on the fullest machine that drains; whether there was one. It needs no start."""
        fullest = max((m for m in self.machines.values() if m.state == "draining"), key=_load, default=None)
        if fullest is None:
            return False
        self.take_calls(fullest)
        return True

    def _stop(self, machine: Machine) -> None:
        self._leave_list(machine)
        if machine.state == "ready":
            self.ready.remove(machine)

    @property
    def coming(self) -> int:
        """Those that take calls, or soon will."""
        return sum(machine.state != "draining" for machine in self.machines.values())


def _load(machine: Machine) -> int:
    return len(machine.calls)
