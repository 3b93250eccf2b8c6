"""The common refinement of several cuts: the parts of a model between them."""

from collections.abc import Iterable, Sequence

from graph_io.cuts import head_of_cut
from graph_io.graph import LayerGraph


def refine(graph: LayerGraph, cuts: Sequence[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the parts into which cuts divide a model, in an order in which they can run.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.
    cuts : sequence of iterables of str
        Each one a legal cut (see `head_of_cut`), in any order; they may cross one another.

    Returns
    -------
    tuple of tuples of str
        Layer ids of each part, in topological order; none is empty. Layers are in one part if they are in front of the
        same cuts. With cuts one behind the other that is one part more than cuts that divide anything.

    Raises
    ------
    ModelError
        A cut is not legal.

    Notes
    -----
    Whatever is in front of a cut has all its ancestors in front of it, too. So an edge leads to a part that is in front
    of fewer cuts, or stays in its part, and the number of cuts behind a part gives an order. Linear in the size of the
    graph times the number of cuts.
    """
    heads = [head_of_cut(graph, cut) for cut in cuts]
    parts: dict[tuple[bool, ...], list[str]] = {}
    for layer in graph:
        parts.setdefault(tuple(layer in head for head in heads), []).append(layer)
    # Sorting is stable: among equals, the part whose first layer comes first.
    return tuple(tuple(parts[behind]) for behind in sorted(parts, key=sum, reverse=True))
