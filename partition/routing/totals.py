"""What a simulated policy comes to, in the terms of the objective."""

from collections.abc import Sequence

from partition.routing.outcome import Simulation


def total_cost(simulation: Simulation, objective: str | float) -> float:
    """Return the sum over all inputs: seconds, joules of the end node, or the weighted sum of both.

    Raises
    ------
    InputError
        Energy counts, and the end node has no power.
    """
    weight = {"time": 0.0, "energy": 1.0}[objective] if isinstance(objective, str) else float(objective)
    joules = float(simulation.energy_joules.sum()) if weight > 0 else 0.0
    return (1 - weight) * simulation.total_s + weight * joules


def best_fixed_cost(simulations: Sequence[Simulation], objective: str | float) -> float | None:
    """Return the least total among the fixed machines; None where none was simulated."""
    costs = [total_cost(one, objective) for one in simulations if one.policy.startswith("fixed:")]
    return min(costs) if costs else None
