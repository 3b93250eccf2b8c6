"""The names under which stages are served, and what goes in and out of them."""

import hashlib
import re

import pytest

from graph_io import load_graph
from partition import load_plan, partition
from partition.errors import InputError
from partition.model_parts import load_parts, split_model
from partition.v2.names import stage_interface, stage_name
from tests.models import model, node, relu_chain


def test_a_name_tells_numbers_and_files():
    hashes = {number: hashlib.sha256(bytes([number])).hexdigest() for number in range(6)}
    digest = hashlib.sha256((hashes[1] + hashes[2]).encode()).hexdigest()[:16]
    assert stage_name("net", {1: hashes[1], 2: hashes[2]}) == f"net-1-2-{digest}"
    assert stage_name("net", {4: hashes[4]}).startswith("net-4-")
    assert stage_name("net", {0: hashes[0], 2: hashes[2], 3: hashes[3]}).startswith("net-0_2_3-")
    assert stage_name("net", {1: hashes[1]}) != stage_name("net", {1: hashes[2]})
    with pytest.raises(InputError, match="has no parts"):
        stage_name("net", {})


@pytest.mark.parametrize("odd", ["../../etc/passwd", "a b/c?d#e%2f", "grün\n", "x" * 500, ".."])
def test_a_name_is_safe_in_a_path(odd):
    name = stage_name(odd, {0: "00" * 32})
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", name)
    assert name.strip(".")


def test_the_interface_is_what_crosses(tmp_path):
    whole = model(
        [
            node("Tanh", "x", "a"),
            node("Relu", "a", "b"),
            node("Neg", "b", "c"),
            node("Add", "c a", "d"),
            node("Abs", "d", "y"),
        ],
        {"x": (1, 4)},
        ["b", "y"],
    )
    made = split_model(load_graph(whole, granularity="node"), [["a"], ["a", "b"], ["b", "d"]]).save(tmp_path / "out")
    loaded = load_parts(tmp_path / "out")
    assert len(loaded.parts) == 4

    def names(*numbers):
        stage = stage_interface(loaded, numbers)
        assert stage.parts == numbers
        return [one.name for one in stage.inputs], [one.name for one in stage.outputs]

    assert names(0) == (["x"], ["a"])
    assert names(1) == (["a"], ["b"])
    assert names(2) == (["b", "a"], ["d"]) or names(2) == (["a", "b"], ["d"])
    assert names(1, 2) == (["a"], ["b", "d"])
    assert names(0, 1, 2, 3) == (["x"], ["b", "y"])
    assert stage_interface(made, [1]).name == stage_interface(loaded, [1]).name


def test_a_plan_that_was_not_saved_has_no_names(tmp_path):
    plan = partition(relu_chain(), "wifi", granularity="node", cut=["t0"])
    with pytest.raises(InputError, match="was not saved yet"):
        stage_interface(plan, [1])
    saved = plan.save(tmp_path / "out")
    assert stage_interface(saved, [1]) == stage_interface(load_plan(tmp_path / "out"), [1])
