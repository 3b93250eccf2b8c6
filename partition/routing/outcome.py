"""What a simulation found, input by input and in total."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.machines import Power

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Simulation:
    """One policy over a sequence of inputs.

    Attributes
    ----------
    policy : str
    machines : tuple of str
        Names; `machine` has places in it.
    end_node : str
    lengths : (n,) int64
    machine : (n,) int64
        Which machine's result each input got.
    started_s, taken_s : (n,) float64
        When each input arose, and how long it took until its result was on the end node, pings and queues included.
    predicted_s : (n,) float64
        What the end node's router expected of that; 0 for none.
    seconds : (n, 3) float64
        How long the end node computed, sent and received for each input.
    power : Power or None
        Of the end node.
    counters : tuple of int
        Pings that an input waited for, attempts to reach links that were away, inputs sent for the news, time limits
        that passed, messages and runs that machines lost when they went away.
    extrapolated : int
        Inputs that ran on a machine whose fit does not cover their length.
    """

    policy: str
    machines: tuple[str, ...]
    end_node: str
    lengths: NDArray[np.int64]
    machine: NDArray[np.int64]
    started_s: FloatArray
    taken_s: FloatArray
    predicted_s: FloatArray
    seconds: FloatArray
    power: Power | None
    counters: tuple[int, ...]
    extrapolated: int

    @property
    def total_s(self) -> float:
        """Sum of the times of all inputs."""
        return float(self.taken_s.sum())

    @property
    def makespan_s(self) -> float:
        """When the last result was there."""
        return float((self.started_s + self.taken_s).max())

    @property
    def energy_joules(self) -> FloatArray:
        """Energy of the end node for each input: computing, sending and receiving, and idle for the rest of its time.

        Where inputs overlap, the idle power counts for each of them; `total_joules` counts it once.

        Raises
        ------
        InputError
            The end node has no power.
        """
        return self._joules_above_idle() + self._power().idle_watts * self.taken_s

    @property
    def total_joules(self) -> float:
        """Energy of the end node from time 0 until the last result.

        Raises
        ------
        InputError
            The end node has no power.
        """
        return float(self._joules_above_idle().sum()) + self._power().idle_watts * self.makespan_s

    @property
    def pings(self) -> int:
        """Pings that an input waited for."""
        return self.counters[0]

    @property
    def retries(self) -> int:
        """Attempts to reach links that were away, which nothing waits for."""
        return self.counters[1]

    @property
    def probes(self) -> int:
        """Inputs that were sent although another choice looked a little better, for the news."""
        return self.counters[2]

    @property
    def time_limits(self) -> int:
        """Answers that did not come in time."""
        return self.counters[3]

    @property
    def lost(self) -> int:
        """Messages and runs that were lost with a machine that went away."""
        return self.counters[4]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the inputs that each machine ran."""
        counts = np.bincount(self.machine, minlength=len(self.machines)) / len(self.machine)
        return dict(zip(self.machines, counts.tolist(), strict=True))

    def _power(self) -> Power:
        if self.power is None:
            raise InputError(f"the end node {self.end_node!r} has no power; give it in the network")
        return self.power

    def _joules_above_idle(self) -> FloatArray:
        power = self._power()
        watts = np.array([power.compute_watts, power.send_watts, power.receive_watts]) - power.idle_watts
        return np.asarray(self.seconds @ watts)

    def __repr__(self) -> str:
        return f"<Simulation of {self.policy!r}: {len(self.lengths)} inputs in {self.total_s:.6g} s>"

    def __str__(self) -> str:
        return policy_table([self])


def policy_table(simulations: Sequence[Simulation]) -> str:
    """Return a table of policies: time, loss against the oracle where there is one, energy, and who ran what."""
    if not simulations:
        return ""
    oracle = next((one for one in simulations if one.policy == "oracle"), None)
    head = ["policy", "total s", "ms each"]
    head += [] if oracle is None else ["over oracle"]
    has_power = simulations[0].power is not None
    head += [*(["joules"] if has_power else []), *simulations[0].machines, "pings", "probes"]
    rows = [head]
    for one in simulations:
        row = [one.policy, f"{one.total_s:.1f}", f"{1e3 * one.total_s / len(one.lengths):.2f}"]
        row += [] if oracle is None else [f"{one.total_s / oracle.total_s - 1:+.2%}"]
        row += [f"{one.total_joules:.1f}"] if has_power else []
        rows.append([*row, *(f"{share:.1%}" for share in one.shares.values()), str(one.pings), str(one.probes)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)
