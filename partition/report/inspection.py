"""What ``dnn-partition inspect`` shows of a model: layers, their costs, where it can be cut, and why not elsewhere."""

from typing import TYPE_CHECKING, Any

from graph_io import CutReason, LayerGraph, cut_reasons
from partition.report.table import format_bytes

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

# A table of tens of thousands of rows takes longer to lay out than the model to load, and nobody reads it.
_MOST_ROWS = 2000
_WHY_NOT = {
    "inside layer": "inside a layer",  # and why it is one, which depends on the granularity
    "inside body": "in a body of If, Loop or Scan, which runs as one node",
    "type": "not a tensor, but a sequence, an optional or a map",
    "constant": "constants, copied to each part that reads them",
    "unread": "put out, but read by nobody",
}


def inspection_json(graph: LayerGraph) -> dict[str, Any]:
    """Return a layer graph as plain JSON values."""
    layers = [data["layer"] for _, data in graph.nodes(data=True)]
    reasons = cut_reasons(graph)
    return {
        "model": graph.graph["name"],
        "granularity": graph.graph["granularity"],
        "structure_sha256": graph.graph["structure_sha256"],
        "inputs": list(graph.graph["inputs"]),
        "outputs": list(graph.graph["outputs"]),
        "single_tensor_cuts": [name for name, reason in reasons.items() if reason.place == "alone"],
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
                "cut": {
                    "place": reasons[tensor.name].place,
                    "beside": list(reasons[tensor.name].beside),
                    "n_beside": reasons[tensor.name].n_beside,
                    "size_bytes": reasons[tensor.name].cut_bytes,
                },
            }
            for tensor in graph.graph["tensors"].values()
        ],
        "no_cut": [
            {"name": name, "reason": reason.place, "inside": reason.inside}
            for name, reason in reasons.items()
            if name not in graph.graph["tensors"]
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
    reasons = cut_reasons(graph)
    layers = [data["layer"] for _, data in graph.nodes(data=True)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("operators", overflow="fold")
    for column in ("MFLOP", "weights"):
        table.add_column(column, justify="right")
    table.add_column("puts out", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("cut", overflow="fold")
    for name in graph.graph["inputs"]:
        size = format_bytes(tensors[name].size_bytes)
        table.add_row("(input)", "", "", "", Text(_tensor(tensors[name])), size, Text(_mark(reasons[name])))
    left_out = 0
    for layer in layers:
        if table.row_count >= _MOST_ROWS:
            left_out += 1
            continue
        for row, name in enumerate(layer.outputs):
            first = row == 0
            table.add_row(
                Text(layer.id if first else ""),
                Text("+".join(layer.op_types) if first else ""),
                f"{layer.flops / 1e6:,.1f}" if first else "",
                format_bytes(layer.weight_bytes) if first and layer.weight_bytes else "",
                Text(_tensor(tensors[name])),
                format_bytes(tensors[name].size_bytes),
                Text(_mark(reasons[name])),
            )
    more = [Text(f"{left_out:,} more layers are not shown; --json lists all of them\n")] if left_out else []
    sizes = graph.graph["constant_bytes"]
    alone = sum(reason.place == "alone" for reason in reasons.values())
    summary = (
        f"{graph.graph['name']}: {len(layers):,} layers, {sum(layer.flops for layer in layers) / 1e9:.3g} GFLOP, "
        f"{format_bytes(sum(sizes.values()))} of weights; {alone:,} tensors are a legal cut by themselves "
        "('alone'), the others only together with those that are named"
    )
    notes = [Text(f"note: {note}") for note in graph.graph["notes"]]
    return Group(table, *more, Text(summary), *_refusals(graph, reasons), *notes)


def _tensor(tensor: Any) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _mark(reason: CutReason) -> str:
    """Say in a cell whether a tensor that may cross is a cut, and with which others."""
    if reason.place == "together":
        return f"with {_some(reason.beside, reason.n_beside)}: {format_bytes(reason.cut_bytes)} in all"
    return {"alone": "alone", "drawn": "beside any: no input reaches it"}.get(reason.place, "no: nobody reads it")


def _refusals(graph: LayerGraph, reasons: dict[str, CutReason]) -> "list[Text]":
    """Say of the tensors that never cross, by reason, how many they are and the first of their names."""
    from rich.text import Text

    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if not reason.crosses:
            names.setdefault(reason.place, []).append(name)
    if graph.graph["granularity"] == "layer":
        together = ", which the runtime runs as one (--granularity node cuts there)"
    else:
        together = " that a sequence, an optional or a map holds together"
    return [
        Text(
            f"no cut: {why}{together if place == 'inside layer' else ''}: "
            f"{_some(tuple(names[place]), len(names[place]), limit=3)}"
        )
        for place, why in _WHY_NOT.items()
        if place in names
    ]


def _some(names: tuple[str, ...], count: int, *, limit: int = 2) -> str:
    # One more name is as short as the words that would stand for it.
    shown = names if count <= limit + 1 else names[:limit]
    return ", ".join(shown) + (f" and {count - len(shown):,} more" if count > len(shown) else "")
