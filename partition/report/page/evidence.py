"""What the figures of a plan are made from: placements priced leg by leg, and their lines in the bandwidth."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

import solvers
from partition.basis import PlanBasis
from partition.plan import Plan
from partition.plan_records import PlanMessage, PlanStage
from partition.problem import IntArray, StageCost, schedule

# What a link may be, in bit/s; a plan for less or for more widens the range.
_LEAST_BITS_PER_S, _MOST_BITS_PER_S = 100e3, 1e9
_AT_LEAST = 8
"""So many places to cut are shown, where there are as many: those that the fewest tensors cross come first."""
_MOST_PRICED = 1_000
_MOST_SHOWN = 24
_MOST_OPTIMA = 8


class MissingEvidence(Exception):
    """A figure cannot be drawn of this plan; the message says what it would need."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A placement and what it costs.

    Attributes
    ----------
    role : {"device", "server", "optimum", "cut"}
    cut : tuple of str
        Tensors that go up.
    n_device_layers : int or None
        None where a saved plan does not tell.
    device_s, uplink_s, server_s, downlink_s : float
    uplink_bytes, downlink_bytes : int
    chosen : bool
        Whether it is the plan's own.
    """

    role: str
    cut: tuple[str, ...]
    n_device_layers: int | None
    device_s: float
    uplink_s: float
    server_s: float
    downlink_s: float
    uplink_bytes: int
    downlink_bytes: int
    chosen: bool = False

    @property
    def latency_s(self) -> float:
        """The sum of the legs."""
        return self.device_s + self.uplink_s + self.server_s + self.downlink_s

    @property
    def legs(self) -> dict[str, float]:
        """Seconds by leg, in the order of time."""
        return {
            "device": self.device_s,
            "uplink": self.uplink_s,
            "server": self.server_s,
            "downlink": self.downlink_s,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """Several candidates, and what a reader has to know of them."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


class Study:
    """A plan and what can be computed of it, each thing once.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def basis(self) -> PlanBasis:
        """What the plan was chosen from.

        Raises
        ------
        MissingEvidence
            It was loaded from a folder.
        """
        if self.plan.basis is None:
            raise MissingEvidence(
                "a saved plan does not hold the times of its model's layers; plan it again with partition(), or give "
                "the command `report` the model instead of the folder"
            )
        return self.plan.basis

    @cached_property
    def own_placement(self) -> IntArray:
        """The plan's placement."""
        return self.basis.bridge.placement(self.plan.layers_on_device)

    @cached_property
    def simple_placements(self) -> dict[str, IntArray]:
        """Everything on the device, and on the server where the plan may do that."""
        bridge = self.basis.bridge
        found = {"device": bridge.placement(frozenset(bridge.layers)), "server": bridge.placement(frozenset())}
        seconds = self.basis.seconds
        return {role: one for role, one in found.items() if np.isfinite(solvers.evaluate(seconds, one))}

    @property
    def bandwidths(self) -> tuple[float, float]:
        """The range of the uplink to look at, in bit/s."""
        here = self.plan.link.uplink_bits_per_s
        return min(_LEAST_BITS_PER_S, here / 10), max(_MOST_BITS_PER_S, here * 10)

    @cached_property
    def family(self) -> "solvers.Family":
        """The plan's problem in seconds, by the seconds per byte of its uplink; the downlink keeps its ratio."""
        return solvers.bandwidth_family(self.basis.seconds)

    @cached_property
    def sweep(self) -> "solvers.Breakpoints":
        """The placements of least latency over the bandwidths, exactly.

        Raises
        ------
        MissingEvidence
            There is no basis, or only the general solver took the problem, which is slow.
        """
        if self.basis and self.plan.method == "milp":
            raise MissingEvidence("only the solver 'milp' took this problem, which is too slow to be asked so often")
        low, high = self.bandwidths
        try:
            return solvers.breakpoints(self.family, 8.0 / high, 8.0 / low)
        except solvers.SolverError as refusal:
            raise MissingEvidence(f"the range of bandwidths was not solved: {refusal}") from refusal

    def priced(self, placement: IntArray, role: str = "cut") -> Candidate:
        """Price a placement on the plan's link."""
        bridge = self.basis.bridge
        cost = schedule(bridge, placement)
        on_device = int((placement[: len(bridge.layers)] == 0).sum())
        return _candidate(role, on_device, cost.stages, cost.messages)

    def candidates(self) -> Evidence:
        """Return the cuts to compare, those with more on the device later."""
        if self.plan.basis is None:
            return self._saved_candidates()
        places, notes = self._places()
        found: dict[bytes, Candidate] = {}
        for role, placement in self.simple_placements.items():
            found[placement.tobytes()] = self.priced(placement, role)
        own = self.own_placement.tobytes()
        role = found[own].role if own in found else "cut"
        # As the plan has it: one that adapts also pays for the borders between its parts.
        found[own] = replace(_own_candidate(self.plan), role=role)
        for placement in places:
            if placement.tobytes() not in found:
                found[placement.tobytes()] = self.priced(placement)
        try:
            optima = [segment.solution.placement for segment in self.sweep.segments]
            new = [one for one in optima if one.tobytes() not in found]
        except MissingEvidence:
            new = []
        if len(new) <= _MOST_OPTIMA:
            for placement in new:
                found[placement.tobytes()] = self.priced(placement)
        unique: dict[tuple[float, ...], Candidate] = {}
        for one in found.values():
            # What no input reaches may sit anywhere: such placements cost the same.
            key = (*one.legs.values(), one.uplink_bytes)
            if one.chosen or key not in unique:
                unique[key] = one
        ordered = sorted(unique.values(), key=lambda one: (one.n_device_layers or 0, one.role != "server"))
        return Evidence(tuple(ordered), tuple(notes))

    def _places(self) -> tuple[list[IntArray], list[str]]:
        """Choose where to cut the layers' order: where the fewest tensors cross, the best of each neighbourhood."""
        bridge, problem = self.basis.bridge, self.basis.problem
        n_layers = len(bridge.layers)
        crossing = _crossing(bridge.latency, n_layers)
        inner = np.arange(1, n_layers)
        if not len(inner):
            return [], []
        most = np.sort(crossing[inner])[min(_AT_LEAST, len(inner)) - 1]
        numbers = inner[crossing[inner] <= max(int(most), 1)]
        of_how_many = len(numbers)
        if of_how_many > _MOST_PRICED:
            numbers = numbers[np.linspace(0, of_how_many - 1, _MOST_PRICED).round().astype(int)]
        pins = bridge.placement(frozenset())[n_layers:]
        legal = []
        for number in numbers.tolist():
            placement = np.concatenate([np.repeat([0, 1], [number, n_layers - number]), pins]).astype(np.int64)
            value = solvers.evaluate(problem, placement)
            if np.isfinite(value):
                legal.append((value, placement))
        notes = []
        if of_how_many > _MOST_PRICED:
            notes.append(f"Of {of_how_many:,} places to cut, {_MOST_PRICED:,} at even distances were priced.")
        if len(legal) > _MOST_SHOWN:
            notes.append(
                f"There are {len(legal):,} such places; of each {_MOST_SHOWN}th of them, in the order of the layers, "
                "the best one is shown."
            )
            groups = np.array_split(np.arange(len(legal)), _MOST_SHOWN)
            legal = [min((legal[index] for index in group), key=lambda one: one[0]) for group in groups]
        return [placement for _, placement in legal], notes

    def _saved_candidates(self) -> Evidence:
        plan = self.plan
        roles = {"all on the device": "device", "all on the server": "server", "the optimum": "optimum"}
        found = [_own_candidate(plan)]
        for one in plan.estimates[1:]:
            found.append(
                Candidate(
                    roles.get(one.name, "cut"),
                    one.cut,
                    None,
                    one.device_s,
                    one.uplink_s,
                    one.server_s,
                    one.downlink_s,
                    one.uplink_bytes,
                    one.downlink_bytes,
                )
            )
        for choice in plan.choices:
            on_device = sum(stage.n_layers for stage in choice.stages if stage.machine == "device")
            found.append(_candidate("cut", on_device, choice.stages, choice.messages))
        unique: dict[tuple[float, ...], Candidate] = {}
        for candidate in found:
            unique.setdefault(tuple(round(seconds, 12) for seconds in candidate.legs.values()), candidate)
        note = "A saved plan holds these placements alone; a report of the model shows the other cuts, too."
        ordered = sorted(unique.values(), key=lambda one: one.device_s)
        return Evidence(tuple(ordered), (note,))


def _own_candidate(plan: Plan) -> Candidate:
    on_device = sum(stage.n_layers for stage in plan.stages if stage.machine == "device")
    role = "device" if on_device == plan.model.n_layers else "cut" if on_device else "server"
    return replace(_candidate(role, on_device, plan.stages, plan.messages), chosen=True)


def _candidate(
    role: str,
    on_device: int,
    stages: tuple[PlanStage, ...] | tuple[StageCost, ...],
    messages: tuple[PlanMessage, ...],
) -> Candidate:
    compute = {
        machine: float(sum(stage.compute_s for stage in stages if stage.machine == machine))
        for machine in ("device", "server")
    }
    sent = {way: [one for one in messages if one.direction == way] for way in ("uplink", "downlink")}
    seconds = {way: float(sum(one.transfer_s + one.delay_s for one in all_)) for way, all_ in sent.items()}
    size = {way: sum(one.size_bytes for one in all_) for way, all_ in sent.items()}
    cut = tuple(name for one in sent["uplink"] for name in one.tensors)
    return Candidate(
        role,
        cut,
        on_device,
        compute["device"],
        seconds["uplink"],
        compute["server"],
        seconds["downlink"],
        size["uplink"],
        size["downlink"],
    )


def _crossing(problem: solvers.Problem, n_layers: int) -> IntArray:
    """Count the tensors that go up if the first k layers are on the device, (n_layers + 1,) int64."""
    on_server = problem.compute[:, 0] == np.inf
    steps = np.zeros(n_layers + 2, dtype=np.int64)
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        made = producer if producer < n_layers else -1
        readers = problem.consumer_layers[problem.consumer_offsets[tensor] : problem.consumer_offsets[tensor + 1]]
        layers = readers[readers < n_layers]
        last = int(layers.max()) if len(layers) else -1
        if any(bool(on_server[reader]) for reader in readers.tolist() if reader >= n_layers):
            last = n_layers
        # It goes up for made < k <= last.
        if last > made:
            steps[made + 1] += 1
            steps[last + 1] -= 1
    return np.asarray(np.cumsum(steps)[: n_layers + 1], dtype=np.int64)
