"""How much memory a part takes: its weights, and an estimate of its largest set of live activations."""

from collections.abc import Sequence

from graph_io import LayerGraph


def part_weight_bytes(graph: LayerGraph, layers: Sequence[str]) -> int:
    """Return the bytes of all constants that the layers read, each once."""
    sizes = graph.graph["constant_bytes"]
    names = {name for layer in layers for name in graph.nodes[layer]["layer"].constants}
    return sum(sizes.get(name, 0) for name in names)


def part_memory_bytes(graph: LayerGraph, layers: Sequence[str]) -> int:
    """Estimate the memory of a part: weights, and the peak of live tensors when layers run in the order given.

    Notes
    -----
    A tensor lives from its producer (or from the start, if it comes from outside) to its last reader here (or to the
    end, if it leaves). What a layer needs inside itself, and what the runtime adds, is not counted.
    """
    if not layers:
        return 0
    position = {layer: index for index, layer in enumerate(layers)}
    outputs = set(graph.graph["outputs"])
    change = [0] * (len(layers) + 1)
    for tensor in graph.graph["tensors"].values():
        readers = [position[reader] for reader in tensor.consumers if reader in position]
        born = position.get(tensor.producer, 0) if tensor.producer is not None else 0
        produced_here = tensor.producer in position
        if not produced_here and not readers:
            continue
        leaves = tensor.name in outputs or len(readers) < len(tensor.consumers)
        dies = len(layers) - 1 if produced_here and leaves else max(readers)
        change[born] += tensor.size_bytes
        change[dies + 1] -= tensor.size_bytes
    peak = live = 0
    for difference in change:
        live += difference
        peak = max(peak, live)
    return part_weight_bytes(graph, layers) + peak
