"""Tensors in the runtime's own layout: what the parts of real splits have to reorder, and the whole model has not."""

from collections import Counter

import pytest

from graph_io import (
    LIGHT_MODELS,
    head_of_cut,
    kernel_list,
    layout_conversions,
    light_model,
    load_graph,
    single_tensor_cuts,
    split,
)
from graph_io.layouts import ENTERING, LEAVING, REORDERS, conversion_benchmark
from graph_io.model import load_model
from tests.scale import scaled


def reorders(graph):
    """Count the reorders of a graph's deployed kernels by operator and shape."""
    return Counter(kernel.key for kernel in kernel_list(graph) if kernel.features.kind == "reorder")


@pytest.fixture(scope="module", params=scaled(["squeezenet", "resnet50"], LIGHT_MODELS))
def graph(request):
    return load_graph(light_model(request.param))


def test_parts_reorder_what_the_conversions_say(graph):
    """At every cut through one tensor the real parts hold the whole model's reorders and those of the cut."""
    conversions = {one.tensor: one for one in layout_conversions(graph)}
    whole = reorders(graph)
    if not whole and not conversions:
        pytest.skip("this processor's runtime has no layout of its own")
    ends = {*graph.graph["inputs"], *graph.graph["outputs"]}
    # A pooling over whole images at the very start of a part is put into blocks, which is not followed.
    pooled = {name for node in graph.graph["model"].proto.graph.node if "Global" in node.op_type for name in node.input}
    cuts = [tensor for tensor in single_tensor_cuts(graph) if tensor not in ends | (pooled - set(conversions))]
    assert len(cuts) > 5
    for tensor in cuts[:: max(1, len(cuts) // scaled(8, 100))]:
        head = head_of_cut(graph, [tensor])
        layers = [[layer for layer in graph if (layer in head) == inside] for inside in (True, False)]
        parts = [load_graph(load_model(part.proto)) for part in split(graph, layers)]
        own = conversions.get(tensor)
        expected = whole.copy()
        for extra in (*own.leaving, *own.entering) if own is not None else ():
            if extra.operator in REORDERS:
                expected[f"{extra.operator} {list(extra.shape)}"] += extra.count
        assert reorders(parts[0]) + reorders(parts[1]) == expected, tensor


def test_without_layouts_there_is_none():
    assert layout_conversions(load_graph(light_model("squeezenet")), level="extended") == ()


@pytest.mark.parametrize(("channels", "grouped"), [(13, 16), (20, 20), (24, 24), (60, 60), (64, 64)])
def test_the_benchmark_of_a_shape_has_both_reorders(channels, grouped):
    found = reorders(load_graph(conversion_benchmark((1, channels, 14, 14))))
    if found:
        assert set(found) == {f"{LEAVING} [1, {grouped}, 14, 14]", f"{ENTERING} [1, {grouped}, 14, 14]"}
