"""Operators of ONNX that are defined by other operators, expanded: hundreds of small graphs that nobody here drew."""

import warnings

import numpy as np
import pytest
from onnx.backend.test.loader import load_model_tests

import graph_io
from graph_io import ModelError
from tests.graph_io.running import TOLERANCE, run_parts, run_whole, session, worst_error
from tests.scale import scaled


@pytest.fixture(scope="module")
def corpus():
    with warnings.catch_warnings(action="ignore"):  # of onnx's own reference computations
        cases = load_model_tests(kind="node")
    # Half precision is rounded elsewhere when the runtime moves its casts, so no close comparison is possible.
    found = [case for case in cases if case.model and len(case.model.graph.node) > 1 and "fp16" not in case.name]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[index] for index in order[: scaled(80, len(found))]]


def finite(values):
    return {name: np.nan_to_num(array) for name, array in values.items()}


def runs_here(case):
    """Return inputs and outputs of a case, or None where the runtime lacks an operator or a type."""
    feeds = dict(zip([value.name for value in case.model.graph.input], case.data_sets[0][0], strict=False))
    if not all(isinstance(array, np.ndarray) for array in feeds.values()):
        return None
    try:
        session(case.model)
        expected = run_whole(case.model, feeds)
    except Exception:
        return None
    numeric = all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in expected.values())
    return (feeds, expected) if numeric else None


def test_expanded_operators(corpus):
    split_models, refused = 0, []
    for case in corpus:
        reference = runs_here(case)
        if reference is None:
            continue
        feeds, expected = reference
        try:
            graph = graph_io.load_graph(case.model, granularity="node")
            graph_io.deployed_kernels(graph_io.load_graph(case.model))
        except ModelError as error:
            refused.append(f"{case.name}: {error}")
            continue
        order = list(graph)
        for index in sorted({len(order) // 4, len(order) // 2, len(order) - 1} - {0}):
            parts = graph_io.split(graph, [order[:index], order[index:]])
            got = run_parts([part.proto for part in parts], feeds, list(expected))
            assert worst_error(finite(got), finite(expected)) <= TOLERANCE, (case.name, index)
        split_models += 1
    print(f"{split_models} of {len(corpus)} expanded operators split, {len(refused)} refused")
    assert split_models > 0.7 * len(corpus)
    # Random inputs, which a shape may need to be found, are not legal for each of them.
    assert all("the run failed" in text for text in refused)
    assert len(refused) <= 0.03 * len(corpus)
