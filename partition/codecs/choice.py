"""Cut and codecs chosen together: the least latency among all combinations whose loss stays within a bound.

What a tensor costs to send is encoding, bytes over the rate and decoding, whatever else is sent. So with the cheapest
allowed codec for each tensor and direction the problem is an ordinary one, and its optimum bounds all combinations from
below. If the codecs of that optimum lose too much together, at least one of them has to be another: the search goes on
with each of them forbidden in turn, the least bound first.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

import solvers
from partition.problem import Bridge, Coded, CodedCrossing, Direction, IntArray, schedule

Pair = tuple[str, str]
"""A tensor and its codec."""
MOST_MEASURED = 100


@dataclass(frozen=True, slots=True)
class Loss:
    """What a combination of codecs loses, the largest error of an output, and whether both were measured as one."""

    loss: float
    output_error: float
    measured: bool


@dataclass(frozen=True, slots=True, eq=False)
class JointChoice:
    """A placement with its codecs.

    Attributes
    ----------
    bridge : Bridge
        With the codecs of this choice and of no other combination.
    codecs : dict of str to str
        Of the tensors that cross by one.
    loss : Loss
    solution : solvers.Solution
        The placement, and a proven lower bound on the latency of any combination that meets the bound on the loss.
    n_judged : int
        How many combinations were judged.
    """

    bridge: Bridge
    codecs: dict[str, str]
    loss: Loss
    solution: solvers.Solution
    n_judged: int


@dataclass(frozen=True, slots=True)
class Options:
    """The codecs that a tensor may cross by, priced for both directions; crossing as it is need not be among them."""

    crossings: Mapping[tuple[str, Direction], tuple[CodedCrossing, ...]]
    raw_bytes: Mapping[str, float]
    per_byte_s: Mapping[Direction, float]

    def best(self, forbidden: frozenset[Pair]) -> Coded:
        """Return the cheapest codec of each tensor and direction that beats crossing as it is."""
        chosen = {}
        for (tensor, direction), crossings in self.crossings.items():
            rate_s = self.per_byte_s[direction]
            least, best = self.raw_bytes[tensor] * rate_s, None
            for one in crossings:
                cost_s = one.encode_s + one.size_bytes * rate_s + one.decode_s
                if cost_s < least and (tensor, one.codec) not in forbidden:
                    least, best = cost_s, one
            if best is not None:
                chosen[tensor, direction] = best
        return chosen


def choose(
    options: Options,
    build: Callable[[Coded], Bridge],
    solve: Callable[[Bridge], solvers.Solution],
    judge: Callable[[Bridge, IntArray, dict[str, str]], Loss],
    *,
    max_loss: float,
    most_judged: int = MOST_MEASURED,
) -> JointChoice:
    """Find the placement and the codecs of least latency within a bound on the loss.

    Parameters
    ----------
    options : Options
        Codecs that each alone stay within the bound.
    build : callable
        Makes the problem for some codecs.
    solve : callable
        Solves it.
    judge : callable
        Says what a placement with codecs loses.
    max_loss : float
    most_judged : int
        After so many combinations the best one known is returned, not proven.

    Notes
    -----
    Exact where adding codecs to a combination that loses too much never makes it lose less: then whatever holds all
    codecs of a refused combination need not be looked at. Without codecs nothing is lost, so there is always a choice.
    """
    numbers = itertools.count()

    def solved(forbidden: frozenset[Pair]) -> tuple[float, int, frozenset[Pair], Bridge, solvers.Solution]:
        bridge = build(options.best(forbidden))
        solution = solve(bridge)
        return min(solution.bound, solution.value), next(numbers), forbidden, bridge, solution

    lossless = build({})
    plain = solve(lossless)
    best = JointChoice(lossless, {}, Loss(0.0, 0.0, True), plain, 0)
    if not options.crossings:
        return best
    heap = [solved(frozenset())]
    seen, judged = {frozenset[Pair]()}, 0
    # Below what no combination can be that was not looked at.
    open_s, unproven_s = inf, inf
    while heap:
        bound_s, _, forbidden, bridge, solution = heapq.heappop(heap)
        if bound_s >= best.solution.value or judged >= most_judged:
            open_s = bound_s
            break
        codecs = sent_by_codec(bridge, solution.placement)
        judged += 1
        loss = judge(bridge, solution.placement, codecs) if codecs else Loss(0.0, 0.0, True)
        if loss.loss <= max_loss:
            if solution.value < best.solution.value:
                best = JointChoice(bridge, codecs, loss, solution, judged)
            if not solution.optimal:
                unproven_s = min(unproven_s, bound_s)
            continue
        for pair in codecs.items():
            child = forbidden | {pair}
            if child not in seen:
                seen.add(child)
                heapq.heappush(heap, solved(child))
    value = best.solution.value
    bound_s = min(open_s, unproven_s, value) if best.codecs else min(open_s, unproven_s, best.solution.bound)
    return replace(best, solution=replace(best.solution, bound=min(bound_s, value)), n_judged=judged)


def sent_by_codec(bridge: Bridge, placement: IntArray) -> dict[str, str]:
    """Return the tensors of a placement that cross by a codec, each with it."""
    return {name: codec for one in schedule(bridge, placement).messages for name, codec in one.coded.items()}
