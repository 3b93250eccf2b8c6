"""A workload split over accelerators and CPUs: who runs what, what loads each machine, and how sure that is."""

import math
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from partition.files import write_json
from partition.workload import KIND_NAMES, Workload, load_workload

if TYPE_CHECKING:
    from solvers.contiguous_problem import PipelineProblem

PLACEMENT_FORMAT = "dnn-partition/workload-placement"
PLACEMENT_VERSION = 1
_ACCELERATOR = KIND_NAMES.index("accelerator")


@dataclass(frozen=True, slots=True)
class MachineShare:
    """One machine and what it has to do for each inference, in the workload's unit of time."""

    machine: str  # "accelerator 0", "cpu 0"
    kind: str  # "accelerator" or "cpu"
    nodes: tuple[int, ...]  # their ids, in the order of the file; empty if it is not used
    compute: float
    incoming: float
    outgoing: float
    load: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class WorkloadPlacement:
    """A contiguous split of a workload; its throughput is one inference in each `value` units of time.

    Attributes
    ----------
    workload : str
    machines : tuple of MachineShare
        Those used in the order of the pipeline, then the others.
    accelerator_memory_bytes : float
    value : float
        The largest load.
    bound : float
        No contiguous split has a smaller one.
    optimal : bool
    method : str
    n_down_sets : int
    one_accelerator : float or None
        The load if one accelerator ran everything; None if none can.
    """

    workload: str
    machines: tuple[MachineShare, ...]
    accelerator_memory_bytes: float
    value: float
    bound: float
    optimal: bool
    method: str
    n_down_sets: int
    one_accelerator: float | None

    @property
    def bottleneck(self) -> MachineShare:
        """The machine with the largest load; the first one along the pipeline of several."""
        return max(self.machines, key=lambda share: share.load)

    def __str__(self) -> str:
        from partition.report.workload import placement_text

        return placement_text(self)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a placement file; see docs/workloads.md."""
        return {
            "format": PLACEMENT_FORMAT,
            "version": PLACEMENT_VERSION,
            "workload": self.workload,
            "objective": "throughput",
            "accelerator_memory_bytes": self.accelerator_memory_bytes,
            "value": self.value,
            "bound": self.bound,
            "optimal": self.optimal,
            "method": self.method,
            "down_sets": self.n_down_sets,
            "one_accelerator": self.one_accelerator,
            "bottleneck": self.bottleneck.machine,
            "machines": [{**asdict(share), "nodes": list(share.nodes)} for share in self.machines],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the placement as a JSON file, whole or not at all; an existing one is replaced.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        write_json(path, self.to_json())


def split_workload(
    workload: Workload | str | os.PathLike[str],
    *,
    accelerators: int | None = None,
    cpus: int | None = None,
    down_set_limit: int | None = None,
) -> WorkloadPlacement:
    """Split a workload contiguously for the highest throughput.

    Parameters
    ----------
    workload : Workload or path
        A path is read by `load_workload`.
    accelerators, cpus : int, optional
        How many machines there are; what is left out is as the file says. None of them has to be used.
    down_set_limit : int, optional
        Most down-sets to look at, by default as `solvers.maximise_throughput`; beyond, an integer program decides,
        with a bound and a gap after a minute.

    Returns
    -------
    WorkloadPlacement

    Raises
    ------
    InputError
        The file cannot be read, or its content cannot be used.
    solvers.ProblemError
        No machine, or a negative number of them.
    solvers.InfeasibleError
        No contiguous split obeys the accelerators' memory and what is allowed on them.
    solvers.MethodError
        There are too many down-sets, and the integer program found no split in time.
    """
    import numpy as np

    from solvers.contiguous import DOWN_SET_LIMIT, maximise_throughput
    from solvers.contiguous_problem import pipeline_loads

    if not isinstance(workload, Workload):
        workload = load_workload(workload)
    problem = workload.problem(accelerators=accelerators, cpus=cpus)
    found = maximise_throughput(problem, down_set_limit=DOWN_SET_LIMIT if down_set_limit is None else down_set_limit)
    loads = pipeline_loads(problem, found.placement)
    kinds = problem.machine_kinds.tolist()
    shares = []
    for machine, kind in enumerate(kinds):
        nodes = tuple(workload.nodes[index].id for index in np.flatnonzero(found.placement == machine))
        shares.append(
            MachineShare(
                machine=f"{KIND_NAMES[kind]} {machine - kinds.index(kind)}",
                kind=KIND_NAMES[kind],
                nodes=nodes,
                compute=float(loads.compute[machine]),
                incoming=float(loads.receive[machine]),
                outgoing=float(loads.send[machine]),
                load=float(loads.load[machine]),
                memory_bytes=float(loads.memory_bytes[machine]),
            )
        )
    used = found.pipeline
    order = [*used, *(machine for machine in range(len(shares)) if machine not in used)]
    return WorkloadPlacement(
        workload=workload.name,
        machines=tuple(shares[machine] for machine in order),
        accelerator_memory_bytes=workload.accelerator_memory_bytes,
        value=found.value,
        bound=found.bound,
        optimal=found.optimal,
        method=found.method,
        n_down_sets=found.n_down_sets,
        one_accelerator=_one_accelerator(problem),
    )


def _one_accelerator(problem: "PipelineProblem") -> float | None:
    """Return what everything takes on one accelerator, where nothing is transferred; None if it cannot run there."""
    from solvers.solution import LIMIT_TOLERANCE

    total = float(problem.compute[:, _ACCELERATOR].sum())
    limit = float(problem.memory_limit_bytes[_ACCELERATOR]) * (1 + LIMIT_TOLERANCE)
    there_is_one = problem.machine_counts[_ACCELERATOR] > 0
    return total if there_is_one and math.isfinite(total) and problem.memory_bytes.sum() <= limit else None
