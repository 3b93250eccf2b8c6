"""From measurements at several lengths to curves: layers, conversions, sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.timings import Timings
from partition.routing.length_models import LengthModel, exact_length_model, fit_length_model
from partition.routing.length_records import ConversionLengths, LayerLengths


def fit_layers(timings: Mapping[int, Timings], whole: LengthModel, dim: str) -> tuple[LayerLengths, ...]:
    """Fit every layer over the lengths at which it was measured, each measurement scaled to the whole run's curve.

    Raises
    ------
    InputError
        The layers are others at one length than at another.
    """
    last = timings[max(timings)]
    seconds: dict[tuple[str, ...], list[float]] = {layer.nodes: [] for layer in last.layers}
    for length, one in timings.items():
        scale = whole.extended(length) / one.whole_model.latency_s
        for layer in one.layers:
            if layer.nodes not in seconds:
                raise InputError(
                    f"layer '{layer.id}' at {dim}={length} is of other nodes than any layer at {dim}={max(timings)}; "
                    "layers have to be the same at all lengths: measure a narrower range, or with granularity 'node'"
                )
            seconds[layer.nodes].append(layer.latency_s * scale)
    short = next((layer.id for layer in last.layers if len(seconds[layer.nodes]) != len(timings)), None)
    if short is not None:
        raise InputError(
            f"layer '{short}' at {dim}={max(timings)} is not there at all lengths; measure a narrower range, or with "
            "granularity 'node'"
        )
    lengths = list(timings)
    return tuple(
        # The ratios of single layers say nothing of a run: only the whole model's are kept.
        LayerLengths(layer.id, layer.nodes, without_ratios(fit_length_model(lengths, seconds[layer.nodes])))
        for layer in last.layers
    )


def without_ratios(model: LengthModel) -> LengthModel:
    """Return a model without its measured noise."""
    return LengthModel(model.coefficients, model.least, model.most, model.r_squared, model.mape)


def fit_conversions(timings: Mapping[int, Timings]) -> tuple[ConversionLengths, ...]:
    """Fit what cuts cost besides; a tensor that needs no conversion at some length costs 0 there."""
    paid = {
        length: {one.tensor: (one.encode_s, one.decode_s) for one in own.conversions} for length, own in timings.items()
    }
    tensors = dict.fromkeys(tensor for own in paid.values() for tensor in own)
    lengths = list(timings)

    def fitted(tensor: str, which: int) -> LengthModel:
        return without_ratios(fit_length_model(lengths, [paid[one].get(tensor, (0.0, 0.0))[which] for one in lengths]))

    return tuple(ConversionLengths(tensor, fitted(tensor, 0), fitted(tensor, 1)) for tensor in tensors)


def fit_sizes(lengths: Sequence[int], sizes: Sequence[int]) -> LengthModel:
    """Return the polynomial that sizes follow, or a fit where they follow none."""
    return exact_length_model(lengths, sizes) or without_ratios(fit_length_model(lengths, sizes))


def fit_output_length(lengths: Sequence[int], outputs: Mapping[int, Sequence[NDArray[Any]]]) -> LengthModel | None:
    """Return the size of the first output's first axis that changes with the length, if it is not the length."""
    first, last = outputs[lengths[0]], outputs[lengths[-1]]
    for number, (short, long) in enumerate(zip(first, last, strict=True)):
        for axis, (least, most) in enumerate(zip(short.shape, long.shape, strict=True)):
            if least != most:
                sizes = [int(outputs[length][number].shape[axis]) for length in lengths]
                return None if sizes == list(lengths) else fit_sizes(lengths, sizes)
    return None
