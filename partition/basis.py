"""What a plan was chosen from: kept beside a plan that was just made, for its report; never saved."""

from dataclasses import dataclass

import numpy as np

import solvers
from graph_io import LayerGraph
from partition.latency.machines import Power
from partition.problem import Bridge


@dataclass(frozen=True, slots=True, eq=False)
class PlanBasis:
    """The priced problem of a plan. It holds no weights, so a plan may keep it after it let go of its model.

    Attributes
    ----------
    bridge : Bridge
        The graph as problems in seconds and in the objective's unit.
    problem : solvers.Problem
        The objective with the layers pinned that `keep_inputs` holds on the device.
    power : Power or None
        Of the device; None where its file has no such figures.
    layer_types : dict of str to str
        What each layer computes, such as ``"Conv+Relu"``.
    """

    bridge: Bridge
    problem: solvers.Problem
    power: Power | None
    layer_types: dict[str, str]

    @property
    def seconds(self) -> solvers.Problem:
        """The problem in seconds, with the same layers pinned."""
        latency = self.bridge.latency
        return latency.with_costs(compute=np.where(np.isfinite(self.problem.compute), latency.compute, np.inf))

    @property
    def joules(self) -> solvers.Problem | None:
        """The problem in joules of the device, or None where its power is not known."""
        if self.power is None:
            return None
        watts = solvers.Power.of_device(
            compute=self.power.compute_watts,
            send=self.power.send_watts,
            receive=self.power.receive_watts,
            idle=self.power.idle_watts,
        )
        return solvers.energy_problem(self.seconds, watts)


def layer_types(graph: LayerGraph) -> dict[str, str]:
    """Return what each layer computes, by its operators."""
    return {name: "+".join(data["layer"].op_types) for name, data in graph.nodes(data=True)}
