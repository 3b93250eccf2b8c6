"""Simulates a network of machines and its routers over a sequence of inputs, and compares policies."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partition.errors import InputError
from partition.latency.machines import Power
from partition.routing.network import MachineNetwork
from partition.routing.outcome import Simulation
from partition.routing.profiles import LinkProfile, Profiles
from solvers.routing_knowledge import informed_adverts, link_rows, own_row
from solvers.routing_simulation import run
from solvers.routing_state import CENTRAL, FIXED, ORACLE, ROUTED, Inputs, Knowledge, Setting
from solvers.routing_truth import Truth

Times = Mapping[str, Sequence[tuple[float, float]]]
_POLICIES = {
    "routed": ROUTED,
    "routed-with-pings": ROUTED,
    "routed-without-pings": ROUTED,
    "central": CENTRAL,
    "oracle": ORACLE,
}


def policies_of(network: MachineNetwork) -> tuple[str, ...]:
    """Return all policies that a network can be simulated with: each machine that has a route, and the routers."""
    reached = {route[-1] for route in network.routes()}
    return (*(f"fixed:{network.names[place]}" for place in sorted(reached)), *_POLICIES)


def simulate(
    network: MachineNetwork,
    lengths: ArrayLike,
    *,
    policy: str = "routed",
    links: Profiles | None = None,
    arrivals_s: ArrayLike | None = None,
    stale_s: float = 60.0,
    objective: str | float = "time",
    seed: int = 0,
    noise: bool = True,
    refit: bool = True,
    away: Times | None = None,
    slowdowns: Times | None = None,
    clocks_s: Mapping[str, float] | None = None,
) -> Simulation:
    """Simulate one policy.

    Parameters
    ----------
    network : MachineNetwork
        What all routers know when it begins: run times, rates and delays.
    lengths : (n,) int
        Of the inputs, 1 or more each. Those outside of a machine's range are extrapolated and counted.
    policy : str
        ``"fixed:NAME"``: every input on this machine, over the route with the least nominal time. ``"routed"``: a
        router on each machine, which gets old news by sending an input that loses little by it.
        ``"routed-with-pings"``: the same, with a ping when news are older than `stale_s`, as CRIME has it.
        ``"routed-without-pings"``: the same, which never asks for news. ``"central"``: one table, known to all at
        once. ``"oracle"``: knows the true links, machines and run times, and takes the best for each input.
    links : mapping, optional
        What links really do, by (source, target). Default, and for links that are not in it: as in the network.
    arrivals_s : (n,) float, optional
        When the inputs arise, 0 or later, rising. Default: each when the one before is done.
    stale_s : float
        Age at which news are old, in seconds, above 0; infinite: none are asked for.
    objective : {"time", "energy"} or float
        What is minimised: the time of each input, the energy of the end node, or (1 - w) times seconds plus w times
        joules.
    seed : int
        Of the noise; the same noise for all policies.
    noise : bool
        Whether run times are multiplied by ratios drawn from the machines' measured ones.
    refit : bool
        Whether routers refit their machine's run time to what they see.
    away : mapping of name to (from, until) in seconds, optional
        When machines are away, with everything that they hold; never the end node.
    slowdowns : mapping of name to (from in seconds, factor), optional
        Factors on the true run times, that routers do not know; 1 before the first.
    clocks_s : mapping of name to seconds, optional
        What each machine's clock shows at the start; 0 where it is not given.

    Returns
    -------
    Simulation

    Raises
    ------
    InputError
        An unknown name, a figure out of range, energy without a power of the end node, or a fixed policy for a machine
        without a route.

    Notes
    -----
    A machine runs one input after the other, a link carries one message after the other, and decisions take no time.
    A message pays its bytes at the link's rates, and the delay that holds when it starts. A ping is 32 bytes each way;
    its input waits for the answer.
    """
    numbers = _lengths(lengths)
    arrivals = _arrivals(arrivals_s, len(numbers))
    if not (isinstance(stale_s, int | float) and stale_s > 0):
        raise InputError(f"stale_s is {stale_s!r}; give seconds above 0, or infinity for no pings")
    origin = network.place(network.end_node)
    prices = prices_of(objective, network.machines[origin].power, network.end_node)
    kind = _POLICIES.get(policy, FIXED)
    routes = network.routes() if kind != ROUTED else ((origin,),)
    inputs = _inputs(network, numbers, arrivals, seed if noise else None)
    setting = Setting(
        policy=kind,
        origin=origin,
        fixed_route=_fixed_route(network, policy, routes, inputs) if kind == FIXED else 0,
        refit=int(refit),
        closed=int(arrivals_s is None),
        stale_s=math.inf if policy == "routed-without-pings" else float(stale_s),
        by_pings=policy == "routed-with-pings",
        prices=np.array(prices),
        time_prices=np.ones(4),
    )
    clocks = [0.0] * len(network.machines)
    for name, clock_s in (clocks_s or {}).items():
        if not math.isfinite(clock_s):
            raise InputError(f"the clock of {name!r} shows {clock_s!r}; give finite seconds")
        clocks[network.place(name)] = float(clock_s)
    first = np.concatenate([[0], np.cumsum([len(route) for route in routes])]).astype(np.int64)
    machines = np.array([place for route in routes for place in route], dtype=np.int64)
    out = run(
        setting,
        _truth(network, links or {}, away or {}, slowdowns or {}, clocks),
        inputs,
        (first, machines),
        first_knowledge(network, clocks),
    )
    ranges = np.array([[one.latency.least, one.latency.most] for one in network.machines])[out.machine]
    return Simulation(
        policy=policy,
        machines=network.names,
        end_node=network.end_node,
        lengths=numbers,
        machine=out.machine,
        started_s=out.started_s,
        taken_s=out.taken_s,
        predicted_s=out.predicted_s,
        seconds=out.seconds.reshape(-1, 3),
        power=network.machines[origin].power,
        counters=tuple(out.counters.tolist()),
        extrapolated=int(((numbers < ranges[:, 0]) | (numbers > ranges[:, 1])).sum()),
    )


def compare(
    network: MachineNetwork, lengths: ArrayLike, *, policies: Sequence[str] | None = None, **options: Any
) -> tuple[Simulation, ...]:
    """Simulate several policies, by default all of `policies_of`, with the same inputs, links and noise.

    Parameters
    ----------
    network, lengths, options
        As for `simulate`.
    policies : sequence of str, optional

    Returns
    -------
    tuple of Simulation
        One for each policy, in their order.
    """
    return tuple(
        simulate(network, lengths, policy=policy, **options)
        for policy in (policies_of(network) if policies is None else policies)
    )


def prices_of(objective: str | float, power: Power | None, end_node: str) -> tuple[float, float, float, float]:
    """Return what a second costs that the end node waits, computes, sends or receives.

    Raises
    ------
    InputError
        An unknown objective, a weight outside of 0 to 1, or energy without a power.
    """
    weight = {"time": 0.0, "energy": 1.0}.get(objective) if isinstance(objective, str) else objective
    if weight is None or isinstance(weight, bool) or not 0 <= weight <= 1:
        raise InputError(f"objective is {objective!r}; use 'time', 'energy', or the weight of energy from 0 to 1")
    if weight == 0:
        return 1.0, 1.0, 1.0, 1.0
    if power is None:
        raise InputError(
            f"objective {objective!r} needs the power of the end node {end_node!r}; give it in the network"
        )
    wait, compute, send, receive = (
        (1 - weight) + weight * watts
        for watts in (power.idle_watts, power.compute_watts, power.send_watts, power.receive_watts)
    )
    return wait, compute, send, receive


def first_knowledge(network: MachineNetwork, clocks_s: Sequence[float]) -> Knowledge:
    """Return what all routers know from the network's description, as arrays with a row for each machine."""
    own = [own_row(one.coefficients, one.latency.most, spread_of(one.latency.ratios)) for one in network.machines]
    places = {name: place for place, name in enumerate(network.names)}
    links = link_rows(
        len(own), [(places[one.source], places[one.target], 8 / one.bits_per_s, one.delay_s) for one in network.links]
    )
    adverts = informed_adverts(own, links, clocks_s)
    return Knowledge(np.array(own), np.array(links), np.array(adverts), np.zeros((len(own), len(own))))


def spread_of(ratios: Sequence[float]) -> float:
    """Return the relative spread of measured run times, robustly; 3 % where nothing was measured."""
    if not ratios:
        return 0.03
    middle = np.median(ratios)
    return float(1.4826 * np.median(np.abs(np.asarray(ratios) - middle)))


def _lengths(lengths: ArrayLike) -> NDArray[np.int64]:
    given = np.asarray(lengths)
    if given.ndim != 1 or given.size == 0:
        raise InputError(f"lengths have the shape {given.shape}; give one or more in one dimension")
    legal = given.dtype.kind in "iu" or (given.dtype.kind == "f" and bool((given == np.round(given)).all()))
    if not legal or not bool((given >= 1).all()) or bool((given > 1e9).any()):
        raise InputError("lengths have to be whole numbers from 1 to 1e9; an input of length 0 has nothing to compute")
    return given.astype(np.int64)


def _arrivals(arrivals_s: ArrayLike | None, n_inputs: int) -> NDArray[np.float64]:
    if arrivals_s is None:
        return np.zeros(n_inputs)
    try:
        given = np.asarray(arrivals_s, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"arrivals_s are no numbers: {error}") from error
    if given.shape != (n_inputs,) or not np.isfinite(given).all() or given[0] < 0 or (np.diff(given) < 0).any():
        raise InputError(f"arrivals_s have to be {n_inputs} finite times of 0 or later that do not fall, in seconds")
    return given


def _inputs(
    network: MachineNetwork, lengths: NDArray[np.int64], arrivals_s: NDArray[np.float64], seed: int | None
) -> Inputs:
    generator = np.random.default_rng(seed)
    rows = []
    for one in network.machines:
        run_s = one.latency.over(lengths) * one.slowdown
        if seed is not None and one.latency.ratios:
            run_s = run_s * generator.choice(np.array(one.latency.ratios), len(lengths))
        rows.append(run_s)
    sent, received = network.input_bytes.over(lengths), network.output_bytes.over(lengths)
    return Inputs(lengths.astype(np.float64), arrivals_s, sent, received, np.concatenate(rows))


def _fixed_route(network: MachineNetwork, policy: str, routes: Sequence[tuple[int, ...]], inputs: Inputs) -> int:
    kind, _, name = policy.partition(":")
    if kind != "fixed" or not name:
        raise InputError(f"policy {policy!r} is unknown; use 'fixed:NAME', {', '.join(map(repr, _POLICIES))}")
    place = network.place(name)
    links = {(network.place(one.source), network.place(one.target)): one for one in network.links}
    size = float(np.mean(inputs.sent_bytes)), float(np.mean(inputs.received_bytes))
    best, least_s = -1, math.inf
    for number, route in enumerate(routes):
        if route[-1] != place:
            continue
        hops = list(pairwise(route))
        seconds = sum(links[hop].delay_s + 8 * size[0] / links[hop].bits_per_s for hop in hops)
        seconds += sum(links[hop[::-1]].delay_s + 8 * size[1] / links[hop[::-1]].bits_per_s for hop in hops)
        if seconds < least_s:
            best, least_s = number, seconds
    if best < 0:
        raise InputError(f"policy {policy!r}: no links lead from {network.end_node!r} to {name!r}; join them")
    return best


def _truth(network: MachineNetwork, profiles: Profiles, away: Times, slowdowns: Times, clocks_s: list[float]) -> Truth:
    n_machines = len(network.machines)
    link_of = np.full(n_machines * n_machines, -1)
    found: list[LinkProfile] = []
    known = {(one.source, one.target) for one in network.links}
    for ends in profiles:
        if ends not in known:
            raise InputError(f"a profile is for the link {ends!r}, which the network has not; it has {sorted(known)!r}")
    for number, link in enumerate(network.links):
        link_of[network.place(link.source) * n_machines + network.place(link.target)] = number
        profile = profiles.get((link.source, link.target))
        if profile is None:
            profile = LinkProfile((0.0,), (link.bits_per_s,), (link.delay_s,))
        elif not isinstance(profile, LinkProfile):
            profile = LinkProfile.recorded(profile, link.delay_s)
        found.append(profile)
    absent = [_absences(network, away, name) for name in network.names]
    for name in (*away, *slowdowns):
        network.place(name)
    speeds = [_speeds(slowdowns.get(name, ()), name) for name in network.names]

    def flat(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        return np.array([value for row in rows for value in row], dtype=np.float64)

    def first(rows: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)

    return Truth(
        link_of=link_of,
        first=first([one.starts for one in found]),
        starts=flat([one.starts for one in found]),
        bytes_per_s=flat([one.bits_per_s for one in found]) / 8,
        delays_s=flat([one.delays_s for one in found]),
        period_s=np.array([math.inf if one.period_s is None else one.period_s for one in found], dtype=np.float64),
        by_share=np.array([int(one.by_share) for one in found], dtype=np.int64),
        away_first=first(absent),
        away_from_s=flat([[one for one, _ in row] for row in absent]),
        away_until_s=flat([[one for _, one in row] for row in absent]),
        speed_first=first(speeds),
        speed_from_s=flat([[one for one, _ in row] for row in speeds]),
        speed_factor=flat([[one for _, one in row] for row in speeds]),
        clock_s=np.array(clocks_s),
    )


def _absences(network: MachineNetwork, away: Times, name: str) -> list[tuple[float, float]]:
    rows = sorted((float(one), float(other)) for one, other in away.get(name, ()))
    if rows and name == network.end_node:
        raise InputError(f"the end node {name!r} cannot be away: inputs arise there")
    last = 0.0
    for begin_s, end_s in rows:
        if not (last <= begin_s < end_s):
            raise InputError(
                f"machine {name!r} is away from {begin_s!r} to {end_s!r} s; give times of 0 or later that rise, and "
                "absences that do not overlap"
            )
        last = end_s
    return rows


def _speeds(rows: Sequence[tuple[float, float]], name: str) -> list[tuple[float, float]]:
    found = [(0.0, 1.0)]
    for begin_s, factor in sorted((float(one), float(other)) for one, other in rows):
        if not (0 <= begin_s < math.inf and 0 < factor < math.inf) or (begin_s == found[-1][0] and begin_s > 0):
            raise InputError(
                f"machine {name!r} takes {factor!r} times as long from {begin_s!r} s on; give times of 0 or later, "
                "each once, and finite factors above 0"
            )
        if begin_s == 0:
            found = []
        found.append((begin_s, factor))
    return found
