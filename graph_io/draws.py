"""Outputs that two runs of one model on the same inputs need not agree on."""

from graph_io.dataflow import dataflow
from graph_io.model import Model
from graph_io.skeleton import skeleton


def drawn_outputs(model: Model) -> frozenset[str]:
    """Return the outputs that depend on values that operators draw at random. Linear in the size of the graph."""
    bare, _ = skeleton(model.proto)
    # Without inputs, what still varies from run to run is what was drawn.
    del bare.graph.input[:]
    return frozenset(dataflow(bare).producer).intersection(value.name for value in bare.graph.output)
