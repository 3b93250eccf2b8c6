"""The symbolic phase of a batch: one model, loaded and priced on every machine once, and its elimination order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import solvers
from graph_io import LayerGraph
from partition.batch.machines import Pair, PricedMachine
from partition.batch.models import BatchModel, load
from partition.batch.settings import Settings
from partition.errors import LIBRARY_ERRORS, InputError
from partition.latency.annotate import annotate
from partition.problem import Bridge, build_bridge

FloatArray = NDArray[np.float64]

# What `solvers.solve` allows "dp" before it turns to cuts: 1,000,000 combinations, and so many for each layer.
_WORK, _WORK_PER_LAYER = 1_000_000, 512
# More than the age of the universe; a machine that is scaled to take longer is a slip.
_MOST_SECONDS = 1e18


@dataclass(frozen=True, slots=True, eq=False)
class PricedModel:
    """A model on all pairs of machines of a batch.

    Attributes
    ----------
    name : str
    bridge : Bridge
        With the pins that hold for all rows, and the costs of none in particular.
    problem : solvers.Problem
        The bridge's, or that with the layers pinned that read an input.
    analysis : solvers.Analysis or None
        None where elimination does not fold: rows are then solved one by one.
    compute : (n_pairs, n_layers, 2) float64
        Seconds, pseudo-layers behind the model's own; inf where a layer must not run.
    encode, decode : (n_pairs, n_tensors, 2) float64 or None
        None where no machine keeps a tensor in a layout of its own.
    errors : dict of int to str
        Why a pair cannot be priced, by its index; its costs are then 0.
    notes : tuple of str
    missing_dims : tuple of str
        Names in the batch's dims that the model does not have.
    """

    name: str
    bridge: Bridge
    problem: solvers.Problem
    analysis: solvers.Analysis | None
    compute: FloatArray
    encode: FloatArray | None
    decode: FloatArray | None
    errors: dict[int, str]
    notes: tuple[str, ...]
    missing_dims: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """What one machine takes for each layer, and for each tensor (out of its layout, into it)."""

    seconds: FloatArray
    conversions_s: dict[str, tuple[float, float]]
    notes: tuple[str, ...]


def price(model: BatchModel, settings: Settings) -> PricedModel:
    """Load a model and price it.

    Raises
    ------
    InputError, graph_io.ModelError, solvers.SolverError
        The model cannot be loaded, or no pair of machines can price it.
    """
    graph, missing = load(model, settings.dims, settings.granularity)
    known = _machine_costs(graph, settings.pairs)
    errors: dict[int, str] = {}
    for at, pair in enumerate(settings.pairs):
        failed = next((one for one in (known[pair.device.index], known[pair.server.index]) if _is_error(one)), None)
        if failed is not None:
            errors[at] = str(failed)
            continue
        for one in (pair.device, pair.server):
            whole_s = _whole_s(known[one.index], one.speed)
            if not whole_s < _MOST_SECONDS:
                errors[at] = (
                    f"machine '{one.name}' takes {whole_s:g} s for this model, and sums of such times overflow; "
                    f"its speed is {one.speed:g}: give a greater one"
                )
    placeholder = dict.fromkeys(graph.nodes, (0.0, 0.0))
    bridge = build_bridge(
        graph,
        placeholder,
        settings.links[0],
        objective="latency",
        output_on=settings.output_on,
        input_bytes={},
        power=None,
        max_server_visits=settings.max_server_visits,
    )
    problem = bridge.latency
    if settings.keep_inputs:
        from partition.api import _input_readers

        wanted = next((name for name in graph.graph["inputs"] if name in graph.graph["outputs"]), None)
        if settings.output_on == "server" and wanted is not None:
            raise InputError(
                f"keep_inputs holds input '{wanted}' on the device, and as an output of the model it is wanted on the "
                "server; use another output_on, or leave keep_inputs out"
            )
        problem = bridge.pinned_to_device(_input_readers(graph))
    try:
        n_layers = problem.n_layers
        analysis = solvers.analyse(problem, work_limit=_WORK + _WORK_PER_LAYER * n_layers)
    except solvers.MethodError:
        analysis = None
    compute = np.repeat(problem.compute[None], len(settings.pairs), axis=0)
    n_real = len(bridge.layers)
    allowed = np.isfinite(problem.compute[:n_real])
    codes = np.zeros((2, len(settings.pairs), problem.n_tensors, 2))
    notes = dict.fromkeys(graph.graph["notes"])
    for at, pair in enumerate(settings.pairs):
        if at in errors:
            continue
        for column, machine in enumerate((pair.device, pair.server)):
            costs = known[machine.index]
            assert isinstance(costs, _Costs)
            own = compute[at, :n_real, column]
            own[:] = np.where(allowed[:, column], costs.seconds / machine.speed, np.inf)
            for tensor, name in enumerate(bridge.tensors):
                both = costs.conversions_s.get(name)
                if both is not None:
                    codes[:, at, tensor, column] = np.array(both) / machine.speed
            notes |= dict.fromkeys(f"{machine.machine.name}: {note}" for note in costs.notes)
    has_codes = bool(codes.any())
    return PricedModel(
        name=model.name,
        bridge=bridge,
        problem=problem,
        analysis=analysis,
        compute=compute,
        encode=codes[0] if has_codes else None,
        decode=codes[1] if has_codes else None,
        errors=errors,
        notes=tuple(notes),
        missing_dims=missing,
    )


def _machine_costs(graph: LayerGraph, pairs: tuple[Pair, ...]) -> dict[int, "_Costs | Exception"]:
    """Price each machine once, whatever its roles and scalings; an error is kept for the rows that it is about."""
    machines: dict[int, PricedMachine] = {}
    for pair in pairs:
        for one in (pair.device, pair.server):
            machines.setdefault(one.index, one)
    found: dict[int, _Costs | Exception] = {}
    for index, one in machines.items():
        try:
            notes = annotate(graph, {"device": one.machine})
        except LIBRARY_ERRORS as error:
            found[index] = error
            continue
        seconds = [data["device"] for _, data in graph.nodes(data="latency_s")]
        found[index] = _Costs(
            np.array(seconds, dtype=np.float64),
            dict(graph.graph["conversion_s"]["device"]),
            tuple(note.removeprefix("device: ") for note in notes),
        )
    return found


def _whole_s(costs: "_Costs | Exception", speed: float) -> float:
    """Return the seconds of all layers and conversions; inf where they overflow."""
    assert isinstance(costs, _Costs)
    both = sum(map(sum, costs.conversions_s.values()))
    with np.errstate(over="ignore"):
        return float((costs.seconds.sum() + both) / np.float64(speed))


def _is_error(costs: "_Costs | Exception") -> bool:
    return isinstance(costs, Exception)
