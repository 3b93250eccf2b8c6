"""What ``--annotate`` writes: a copy of the model with the layer, and the placement if there is one, in each node."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from partition.errors import InputError
from partition.plan import Plan

if TYPE_CHECKING:
    from graph_io import LayerGraph


def write_annotated(graph: "LayerGraph", target: Path, *, plan: Plan | None = None) -> None:
    """Write a copy of a model for a viewer such as Netron; an existing file is replaced.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.
    target : pathlib.Path
        Appears whole or not at all.
    plan : Plan, optional
        Made from that graph. Without it the nodes only tell their layer.

    Raises
    ------
    graph_io.ModelError
        The model's weights lie in other files, and `target` is not in the model's folder.
    InputError
        The file cannot be written.
    """
    from graph_io import annotated_copy

    about = {"granularity": str(graph.graph["granularity"])}
    if plan is not None:
        about |= {"cut": ", ".join(plan.cut) or "none", "device": plan.device.name, "server": plan.server.name}
    content = annotated_copy(graph, _placements(plan), target, about=about).SerializeToString()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"annotated copy '{target}' cannot be written: {error.strerror or error}") from error


def _placements(plan: Plan | None) -> dict[str, dict[str, str]]:
    if plan is None:
        return {}
    return {
        layer: {"machine": stage.machine, "stage": str(index), "part": plan.parts[number].file}
        for index, stage in enumerate(plan.stages)
        for number in stage.parts
        for layer in plan.parts[number].layers
    }
