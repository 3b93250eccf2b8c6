"""Networks of the kinds that users bring: planned at one size, cut at many places, run at other sizes."""

import numpy as np
import pytest

import graph_io
from tests.graph_io.corpus import CASES
from tests.graph_io.running import TOLERANCE, run_whole, session
from tests.graph_io.test_refine import random_cuts
from tests.scale import scaled


def errors(got, reference, steps):
    """Return the error of each output in what is allowed for it: its tolerance, or one quantisation step."""
    found = {}
    for name, expected in reference.items():
        result = got[name]
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype), name
        distance = float(np.max(np.abs(result.astype(np.float64) - expected.astype(np.float64)), initial=0.0))
        largest = float(np.max(np.abs(expected.astype(np.float64)), initial=0.0)) or 1.0
        if expected.dtype.kind in "iu":
            allowed = 0.5
        elif name not in steps:
            allowed = TOLERANCE * largest
        elif steps[name].size is not None:
            allowed = max(1.001 * steps[name].size, TOLERANCE * largest)
        else:
            allowed = steps[name].relative * largest
        found[name] = distance / allowed
    return found


def chosen_cuts(graph, generator):
    """Choose cuts of one tensor from front to back, and some of several tensors."""
    single = graph_io.single_tensor_cuts(graph)
    number = min(len(single), scaled(4, 40))
    picked = [[single[index]] for index in np.linspace(0, len(single) - 1, number).astype(int)]
    return picked + random_cuts(graph, generator, scaled(6, 40))


def two_parts(graph, cut):
    head = graph_io.head_of_cut(graph, cut)
    parts = [[layer for layer in graph if (layer in head) == inside] for inside in (True, False)]
    return graph_io.split(graph, [part for part in parts if part])


def run(opened, feeds, outputs):
    known = dict(feeds)
    for part, one in opened:
        if part.outputs:
            given = {name: known[name] for name in part.inputs}
            known.update(zip(part.outputs, one.run(list(part.outputs), given), strict=True))
    return {name: known[name] for name in outputs}


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("name", CASES)
def test_parts_planned_at_one_size_run_at_others(name, granularity):
    case = CASES[name]
    source = case.build()
    graph = graph_io.load_graph(source, dims=case.planned, granularity=granularity)
    steps = graph_io.output_steps(graph.graph["model"])
    trials = [case.feeds(sizes, np.random.default_rng(7)) for sizes in (case.planned, *case.sizes)]
    whole = [run_whole(source, feeds) for feeds in trials]
    cuts = chosen_cuts(graph, np.random.default_rng(0))
    assert len(cuts) >= 4
    for cut in cuts:
        opened = [(part, session(part.proto)) for part in two_parts(graph, cut)]
        for feeds, reference in zip(trials, whole, strict=True):
            found = errors(run(opened, feeds, list(reference)), reference, steps)
            assert max(found.values()) <= 1, (cut, {key: value.shape for key, value in feeds.items()}, found)


@pytest.mark.parametrize("name", CASES)
def test_inputs_change_every_output(name):
    """Otherwise the comparison above would prove little."""
    case = CASES[name]
    source = case.build()
    sizes = next(sizes for sizes in (case.planned, *case.sizes) if max(sizes.values()) > 1)
    first, second = (run_whole(source, case.feeds(sizes, np.random.default_rng(seed))) for seed in (1, 2))
    assert not [key for key in first if np.array_equal(first[key], second[key])]


@pytest.mark.parametrize("name", CASES)
def test_the_finest_parts_compute_the_whole(name):
    case = CASES[name]
    source = case.build()
    graph = graph_io.load_graph(source, dims=case.planned)
    steps = graph_io.output_steps(graph.graph["model"])
    opened = [(part, session(part.proto)) for part in graph_io.split(graph, [[layer] for layer in graph])]
    for sizes in (case.planned, *case.sizes):
        feeds = case.feeds(sizes, np.random.default_rng(3))
        reference = run_whole(source, feeds)
        assert max(errors(run(opened, feeds, list(reference)), reference, steps).values()) <= 1, sizes
