"""Where each length runs best over a network as it is described, exactly: ranges of lengths, and break-evens.

What all routers know before the first input; no load, no queue. All routes are priced at every length, and ties go to
the earlier route: to stay comes first, then fewer hops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.machines import Power
from partition.routing.network import MachineNetwork
from partition.routing.open_dims import check_range
from partition.routing.simulator import prices_of

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RouteCurve:
    """One route over all lengths.

    Attributes
    ----------
    route : tuple of str
        From the end node to the machine that runs the input.
    seconds : (n,) float64
        From the input to its result on the end node.
    joules : (n,) float64 or None
        Of the end node meanwhile; None without its power.
    cost : (n,) float64
        What the objective says.
    """

    route: tuple[str, ...]
    seconds: FloatArray
    joules: FloatArray | None
    cost: FloatArray

    @property
    def machine(self) -> str:
        """The machine that runs the input."""
        return self.route[-1]


@dataclass(frozen=True, slots=True)
class LengthRange:
    """Neighbouring lengths that go the same way.

    Attributes
    ----------
    least, most : int
    route : tuple of str
    seconds : pair of float
        At both ends.
    joules : pair of float, or None
    extrapolated : bool
        Whether a length in it is outside of what was measured for the machine.
    """

    least: int
    most: int
    route: tuple[str, ...]
    seconds: tuple[float, float]
    joules: tuple[float, float] | None
    extrapolated: bool

    @property
    def machine(self) -> str:
        """The machine that runs these inputs."""
        return self.route[-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "least": self.least,
            "most": self.most,
            "machine": self.machine,
            "route": list(self.route),
            "seconds": list(self.seconds),
            "joules": None if self.joules is None else list(self.joules),
            "extrapolated": self.extrapolated,
        }


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NominalRoutes:
    """The best route of every length.

    Attributes
    ----------
    network : MachineNetwork
    objective : str or float
    lengths : (n,) int64
        One after the other.
    curves : tuple of RouteCurve
        All routes; the first is to stay.
    chosen : (n,) int64
        Which of them each length takes.
    """

    network: MachineNetwork
    objective: str | float
    lengths: NDArray[np.int64]
    curves: tuple[RouteCurve, ...]
    chosen: NDArray[np.int64]

    @property
    def ranges(self) -> tuple[LengthRange, ...]:
        """Neighbouring lengths with one route, in order."""
        ends = [0, *(np.flatnonzero(np.diff(self.chosen)) + 1).tolist(), len(self.lengths)]
        return tuple(self._range(first, end - 1) for first, end in pairwise(ends))

    @property
    def break_evens(self) -> tuple[int, ...]:
        """The lengths from which on another route is best."""
        return tuple(one.least for one in self.ranges[1:])

    def at(self, length: int) -> LengthRange:
        """Return one length's route, with its own times.

        Raises
        ------
        InputError
            It is not among the lengths.
        """
        at = length - int(self.lengths[0])
        if not 0 <= at < len(self.lengths):
            raise InputError(
                f"length {length} is not among {self.lengths[0]} to {self.lengths[-1]}; give a range that has it"
            )
        return self._range(at, at)

    def _range(self, first: int, last: int) -> LengthRange:
        curve = self.curves[int(self.chosen[first])]
        machine = self.network.machines[self.network.place(curve.machine)].latency
        least, most = int(self.lengths[first]), int(self.lengths[last])
        return LengthRange(
            least,
            most,
            curve.route,
            (float(curve.seconds[first]), float(curve.seconds[last])),
            None if curve.joules is None else (float(curve.joules[first]), float(curve.joules[last])),
            least < machine.least or most > machine.most,
        )

    def __repr__(self) -> str:
        return f"<NominalRoutes of lengths {self.lengths[0]} to {self.lengths[-1]}, {len(self.ranges)} ranges>"

    def __str__(self) -> str:
        return "\n".join(
            f"{one.least} to {one.most}: {' -> '.join(one.route)}, "
            f"{1e3 * one.seconds[0]:.4g} to {1e3 * one.seconds[1]:.4g} ms"
            for one in self.ranges
        )


def nominal_routes(
    network: MachineNetwork, lengths: Sequence[int] | None = None, *, objective: str | float = "time"
) -> NominalRoutes:
    """Find the best route of every length.

    Parameters
    ----------
    network : MachineNetwork
    lengths : pair of int, optional
        The least and the greatest. Default: what was measured for the end node.
    objective : {"time", "energy"} or float
        As `partition.routing.simulator.simulate` takes it.

    Returns
    -------
    NominalRoutes

    Raises
    ------
    InputError
        A range that is none or holds more than a million lengths, an unknown objective, energy without the power of
        the end node, or more than 10,000 routes.
    """
    home = network.machines[network.place(network.end_node)]
    given = (home.latency.least, home.latency.most) if lengths is None else lengths
    least, most = check_range("length", given) if given[0] != given[1] else (given[0], given[1])
    if most - least >= 1_000_000:
        raise InputError(f"the range {least} to {most} holds more than a million lengths; give a shorter one")
    numbers = np.arange(least, most + 1)
    prices = prices_of(objective, home.power, network.end_node)
    curves = tuple(_curve(network, route, numbers, prices, home.power) for route in network.routes())
    # The first of equal ones, as the routers do it.
    chosen = np.argmin(np.stack([one.cost for one in curves]), axis=0)
    return NominalRoutes(network, objective, numbers, curves, chosen)


def _curve(
    network: MachineNetwork,
    route: tuple[int, ...],
    lengths: NDArray[np.int64],
    prices: tuple[float, float, float, float],
    power: Power | None,
) -> RouteCurve:
    links = {(network.place(one.source), network.place(one.target)): one for one in network.links}
    machine = network.machines[route[-1]]
    run_s = machine.latency.over(lengths) * machine.slowdown
    sent, received = network.input_bytes.over(lengths), network.output_bytes.over(lengths)
    # The end node sends and receives over the first link; over all others it waits.
    parts = [np.zeros(len(lengths)) for _ in range(4)]
    wait_s, compute_s, send_s, receive_s = parts
    for number, hop in enumerate(pairwise(route)):
        there, back = links[hop], links[hop[::-1]]
        up_s, down_s = 8 * sent / there.bits_per_s, 8 * received / back.bits_per_s
        wait_s += there.delay_s + back.delay_s
        if number == 0:
            send_s += up_s
            receive_s += down_s
        else:
            wait_s += up_s + down_s
    own = compute_s if len(route) == 1 else wait_s
    own += run_s
    joules = None
    if power is not None:
        watts = (power.idle_watts, power.compute_watts, power.send_watts, power.receive_watts)
        joules = np.sum([one * part for one, part in zip(watts, parts, strict=True)], axis=0)
    cost = np.sum([price * part for price, part in zip(prices, parts, strict=True)], axis=0)
    names = tuple(network.names[place] for place in route)
    return RouteCurve(names, np.sum(parts, axis=0), joules, cost)
