"""A plan's placements, ready to run: which parts and stages come one after the other, and what each needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from partition.plan import Plan
from partition.plan_records import PlanChoice
from partition.v2.names import StageInterface, stage_interface


@dataclass(frozen=True, slots=True)
class RouteStage:
    """One stage of a route.

    Attributes
    ----------
    machine : {"device", "server"}
    parts : tuple of int
    compute_s : float
        As planned.
    served : StageInterface or None
        How a server offers it; None for the device's.
    needed_after : frozenset of str
        Tensors that later stages read or the model gives.
    """

    machine: Literal["device", "server"]
    parts: tuple[int, ...]
    compute_s: float
    served: StageInterface | None
    needed_after: frozenset[str]

    @property
    def sent(self) -> tuple[str, ...]:
        """Names of the tensors that a server gets for it."""
        return () if self.served is None else tuple(one.name for one in self.served.inputs)


@dataclass(frozen=True, slots=True)
class Route:
    """One placement of a plan."""

    choice: PlanChoice
    stages: tuple[RouteStage, ...]

    @property
    def is_local(self) -> bool:
        """Whether it needs no server."""
        return all(stage.served is None for stage in self.stages)

    @property
    def device_parts(self) -> frozenset[int]:
        """The parts that the device runs."""
        return frozenset(number for stage in self.stages if stage.served is None for number in stage.parts)


def routes_of(plan: Plan, choices: Iterable[PlanChoice]) -> tuple[Route, ...]:
    """Lay out placements of a saved plan.

    Raises
    ------
    InputError
        The plan was not saved, so its parts have no hashes by which a server knows them.
    """
    routes = []
    for choice in choices:
        needed = set(plan.model.output_names)
        stages: list[RouteStage] = []
        for stage in reversed(choice.stages):
            # A stage without parts only passes on what comes; there is nothing to ask a server for.
            served = stage_interface(plan, stage.parts) if stage.machine == "server" and stage.parts else None
            stages.append(RouteStage(stage.machine, stage.parts, stage.compute_s, served, frozenset(needed)))
            needed |= {one.name for number in stage.parts for one in plan.parts[number].inputs}
        routes.append(Route(choice, tuple(reversed(stages))))
    return tuple(routes)
