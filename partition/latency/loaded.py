"""What layers take on a machine that has other work to do."""

from dataclasses import replace

from partition.errors import InputError
from partition.latency.machines import Machine
from partition.latency.predict import LayerCosts
from partition.latency.timings import Timings
from partition.load.model import Load, LoadModel
from partition.load.reading import LoadReading


def under_load(costs: LayerCosts, machine: Machine | Timings, load: Load, *, threads: int) -> LayerCosts:
    """Return the costs of layers while others take a part of the machine.

    Parameters
    ----------
    costs : LayerCosts
        On the machine at rest.
    machine : Machine or Timings
        A calibrated machine knows how load slows it down; for any other the time is that at rest over the share of the
        processor that is left.
    load : float or LoadReading
        The share of the processor time that others take; or what was read there.
    threads : int
        Of the inference.

    Returns
    -------
    LayerCosts
        With a note that says which load was assumed.

    Raises
    ------
    InputError
        A load out of range, or a reading that was taken with another number of threads.
    """
    model = _load_model(machine, threads)
    if isinstance(load, LoadReading) and load.threads != threads:
        raise InputError(
            f"the load was read with {load.threads} threads, the inference uses {threads}; read it with as many"
        )
    factors = {layer: _factor(model, load, costs.memory_shares.get(layer, 0.0)) for layer in costs.seconds}
    moving = _factor(model, load, 1.0)
    largest = max(factors.values(), default=1.0)
    what = str(load) if isinstance(load, LoadReading) else f"{load:.0%} of the processor time taken by others"
    by_rule = "" if model is not None else "; not calibrated: the time over the share that is left"
    return replace(
        costs,
        seconds={layer: seconds * factors[layer] for layer, seconds in costs.seconds.items()},
        deviations_s={
            layer: {source: one * factors[layer] for source, one in sources.items()}
            for layer, sources in costs.deviations_s.items()
        },
        # A reorder does next to nothing but move memory.
        conversions_s={
            tensor: (encode_s * moving, decode_s * moving)
            for tensor, (encode_s, decode_s) in costs.conversions_s.items()
        },
        notes=(*costs.notes, f"load: {what}: up to {largest:.2f} times as long as at rest{by_rule}"),
    )


def _load_model(machine: Machine | Timings, threads: int) -> LoadModel | None:
    calibration = machine.calibration if isinstance(machine, Machine) else None
    models = () if calibration is None else calibration.load_models
    return next((one for one in models if one.threads == threads), None)


def _factor(model: LoadModel | None, load: Load, memory_share: float) -> float:
    if model is not None:
        share = memory_share if model.idle_memory_copy_s is not None else 0.0
        return model.factor(load, memory_share=share)
    return 1.0 / (load.cpu_share if isinstance(load, LoadReading) else 1.0 - load)
