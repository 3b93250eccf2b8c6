"""How the time of kernels is given to layers, and how layers that share a kernel share it."""

from collections.abc import Iterable, Mapping, Sequence

from partition.latency.machines import shipped_machine
from partition.latency.roofline import LayerFeatures, roofline_s

# Whose roofline shares out a time among several layers; only its proportions matter.
_SHARING_MACHINE = "laptop-4-core"


def sharing_weights(layers: Mapping[str, LayerFeatures]) -> dict[str, float]:
    """Return in what proportion layers share the time of a kernel that does the work of all; each is above zero."""
    return roofline_s(shipped_machine(_SHARING_MACHINE), layers)


def layer_shares(kernel_layers: Sequence[str], weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return the layers of one kernel, each with its share of the kernel's time; the shares add up to 1."""
    if len(kernel_layers) == 1:
        return ((kernel_layers[0], 1.0),)
    total = sum(weights[layer] for layer in kernel_layers)
    return tuple((layer, weights[layer] / total) for layer in kernel_layers)


def seconds_by_layer(
    kernel_layers: Iterable[Sequence[str]], seconds: Iterable[float], weights: Mapping[str, float]
) -> dict[str, float]:
    """Add up the seconds of kernels by layer.

    Parameters
    ----------
    kernel_layers : iterable of sequence of str
        The layers of each kernel.
    seconds : iterable of float
        Of each kernel.
    weights : mapping of str to float
        In what proportion layers share a kernel; from `sharing_weights`, of all layers.

    Returns
    -------
    dict of str to float
        In the order of `weights`; 0 for a layer without a kernel.
    """
    found = dict.fromkeys(weights, 0.0)
    for layers, own_s in zip(kernel_layers, seconds, strict=True):
        for layer, share in layer_shares(layers, weights):
            found[layer] += own_s * share
    return found
