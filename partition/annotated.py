"""What ``--annotate`` writes: a copy of the model with the layer, and the placement if there is one, in each node."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from partition.errors import InputError
from partition.files import draft_of
from partition.plan import Plan

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from graph_io import LayerGraph


def write_annotated(graph: "LayerGraph", target: Path, *, plan: Plan | None = None) -> None:
    """Write a copy of a model for a viewer such as Netron; an existing file is replaced.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.
    target : pathlib.Path
        Appears whole or not at all. It may be neither the model nor a file of its weights.
    plan : Plan, optional
        Made from that graph. Without it the nodes only tell their layer.

    Raises
    ------
    graph_io.ModelError
        The model's weights lie in other files, and `target` is not in the model's folder.
    InputError
        The file cannot be written, or is one of the model's own.
    """
    from graph_io import annotated_copy

    about = {"granularity": str(graph.graph["granularity"])}
    if plan is not None:
        about |= {"cut": ", ".join(plan.cut) or "none", "device": plan.device.name, "server": plan.server.name}
    copy = annotated_copy(graph, _placements(plan), target, about=about)
    path: Path | None = graph.graph["model"].path
    if path is not None:
        _refuse_own_files(target, path, copy)
    content = copy.SerializeToString()
    try:
        with draft_of(target) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise InputError(f"annotated copy '{target}' cannot be written: {error.strerror or error}") from error


def _refuse_own_files(target: Path, path: Path, proto: "Message") -> None:
    real = os.path.realpath(target)
    if real == os.path.realpath(path):
        raise InputError(f"annotated copy '{target}' is the model itself; choose another file")
    # Of the file as it is, because of the loaded model small weights and those of bodies no longer lie anywhere else.
    if any(real == os.path.realpath(path.parent / location) for location in set(_locations(proto))):
        raise InputError(f"annotated copy '{target}' holds weights of the model '{path}'; choose another file")


def _locations(message: "Message") -> Iterator[str]:
    """Yield the locations of external data anywhere in a message: initializers, bodies, attributes, functions."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location" and "\0" not in entry.value)
        elif field.message_type is not None:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                yield from _locations(inner)


def _placements(plan: Plan | None) -> dict[str, dict[str, str]]:
    if plan is None:
        return {}
    return {
        layer: {"machine": stage.machine, "stage": str(index), "part": plan.parts[number].file}
        for index, stage in enumerate(plan.stages)
        for number in stage.parts
        for layer in plan.parts[number].layers
    }
