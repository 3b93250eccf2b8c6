"""What ``dnn-partition inspect`` shows of a model: layers, their features, and where it can be cut."""

from typing import TYPE_CHECKING, Any

from graph_io import LayerGraph, single_tensor_cuts
from partition.report.table import format_bytes

if TYPE_CHECKING:
    from rich.console import Group


def inspection_json(graph: LayerGraph) -> dict[str, Any]:
    """Return a layer graph as plain JSON values."""
    layers = [data["layer"] for _, data in graph.nodes(data=True)]
    return {
        "model": graph.graph["name"],
        "granularity": graph.graph["granularity"],
        "structure_sha256": graph.graph["structure_sha256"],
        "inputs": list(graph.graph["inputs"]),
        "outputs": list(graph.graph["outputs"]),
        "single_tensor_cuts": list(single_tensor_cuts(graph)),
        "layers": [
            {
                "id": layer.id,
                "op_types": list(layer.op_types),
                "nodes": list(layer.nodes),
                "inputs": list(layer.inputs),
                "outputs": list(layer.outputs),
                "flops": layer.flops,
                "input_bytes": layer.input_bytes,
                "output_bytes": layer.output_bytes,
                "weight_bytes": layer.weight_bytes,
            }
            for layer in layers
        ],
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "size_bytes": tensor.size_bytes,
                "producer": tensor.producer,
                "consumers": list(tensor.consumers),
            }
            for tensor in graph.graph["tensors"].values()
        ],
        "notes": list(graph.graph["notes"]),
    }


def inspection_view(graph: LayerGraph) -> "Group":
    """Build the table of a layer graph for a person."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    tensors = graph.graph["tensors"]
    cuts = set(single_tensor_cuts(graph))
    layers = [data["layer"] for _, data in graph.nodes(data=True)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("operators", overflow="fold")
    for column in ("MFLOP", "weights"):
        table.add_column(column, justify="right")
    table.add_column("puts out", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("cut")
    for name in graph.graph["inputs"]:
        size = format_bytes(tensors[name].size_bytes)
        table.add_row("(input)", "", "", "", Text(_tensor(tensors[name])), size, _mark(name, cuts))
    for layer in layers:
        for row, name in enumerate(layer.outputs):
            first = row == 0
            table.add_row(
                Text(layer.id if first else ""),
                Text("+".join(layer.op_types) if first else ""),
                f"{layer.flops / 1e6:,.1f}" if first else "",
                format_bytes(layer.weight_bytes) if first and layer.weight_bytes else "",
                Text(_tensor(tensors[name])),
                format_bytes(tensors[name].size_bytes),
                _mark(name, cuts),
            )
    sizes = graph.graph["constant_bytes"]
    summary = (
        f"{graph.graph['name']}: {len(layers)} layers, {sum(layer.flops for layer in layers) / 1e9:.3g} GFLOP, "
        f"{format_bytes(sum(sizes.values()))} of weights; {len(cuts)} tensors are a legal cut by themselves "
        "(marked 'alone'), the others only together with more"
    )
    notes = [Text(f"note: {note}") for note in graph.graph["notes"]]
    return Group(table, Text(summary), *notes)


def _tensor(tensor: Any) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _mark(name: str, cuts: set[str]) -> str:
    return "alone" if name in cuts else ""
