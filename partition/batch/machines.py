"""The pairs of machines of a batch: a device and a server, each as measured or predicted, or sped up as a whole."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from partition.errors import InputError
from partition.latency.machines import Machine, Power, load_machine
from partition.latency.timings import Timings


@dataclass(frozen=True, slots=True)
class ScaledMachine:
    """A machine that is faster or slower than another by one factor, in all that it computes.

    Attributes
    ----------
    machine : str, path, Machine or Timings
        As `partition.partition` takes it.
    speed : float
        2 computes, encodes and decodes twice as fast as `machine`; its power stays that of `machine`. Above 0.
    """

    machine: str | os.PathLike[str] | Machine | Timings
    speed: float

    def __post_init__(self) -> None:
        speed = self.speed
        if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed < math.inf:
            raise InputError(f"speed is {speed!r}; give a finite number above 0, such as 2 for twice as fast")


MachineOfPair: TypeAlias = str | os.PathLike[str] | Machine | Timings | ScaledMachine


@dataclass(frozen=True, slots=True)
class PricedMachine:
    """One machine of a pair, loaded.

    Attributes
    ----------
    index : int
        Of `machine` in the batch's list: scalings of one machine share it, and are priced once.
    machine : Machine or Timings
    speed : float
    """

    index: int
    machine: Machine | Timings
    speed: float

    @property
    def name(self) -> str:
        """The machine's own, with the speed behind it where that is not 1."""
        return self.machine.name if self.speed == 1 else f"{self.machine.name}@{self.speed:g}"

    @property
    def power(self) -> Power | None:
        """What it draws; None where its file does not say."""
        return self.machine.power if isinstance(self.machine, Machine) else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A device and a server."""

    device: PricedMachine
    server: PricedMachine


def parse_pairs(machines: Iterable[object]) -> tuple[Pair, ...]:
    """Load the machines of all pairs, each once.

    Raises
    ------
    InputError
        Not pairs, none at all, or a machine that cannot be loaded.
    """
    legal = "give pairs (device, server), such as [('raspberry-pi-4', 'xeon-server')]"
    if isinstance(machines, str) or not isinstance(machines, Iterable):
        raise InputError(f"machines is {machines!r}; {legal}")
    known: dict[object, tuple[int, Machine | Timings]] = {}

    def loaded(one: MachineOfPair) -> PricedMachine:
        base, speed = (one.machine, float(one.speed)) if isinstance(one, ScaledMachine) else (one, 1.0)
        key: object = os.fspath(base) if isinstance(base, str | os.PathLike) else id(base)
        if key not in known:
            known[key] = (len(known), load_machine(base))
        index, machine = known[key]
        return PricedMachine(index, machine, speed)

    pairs = []
    for pair in machines:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"machines holds {pair!r}, which is no pair; {legal}")
        device, server = pair
        pairs.append(Pair(loaded(device), loaded(server)))
    if not pairs:
        raise InputError(f"machines is empty; {legal}")
    return tuple(pairs)
