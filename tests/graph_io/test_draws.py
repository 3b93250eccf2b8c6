"""Which nodes draw a new value at each run, and so are never copied; and how large functions become."""

import time

import numpy as np
import pytest
from onnx import TensorProto, helper

import graph_io
from graph_io.dataflow import dataflow
from tests.models import model, node, value

BASE = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]


def function(name, nodes, *, overload=""):
    made = helper.make_function("local", name, ["u"], ["v"], nodes, BASE)
    made.overload = overload
    return made


def call(name, inputs, outputs, overload=""):
    return helper.make_node(name, inputs.split(), outputs.split(), domain="local", overload=overload, name=outputs)


def variable(whole):
    """Return the tensors of a model that may differ from run to run though they depend on no input."""
    graph = dataflow(whole)
    return {name for name in graph.producer if name not in ("a", "y")}


def with_constant(nodes, **more):
    """Add what depends on the input, so that a model of constants is one that can be cut."""
    return model([*nodes, node("Tanh", "x", "a"), node("Add", "a r", "y")], {"x": (2, 3)}, ["y"], **more)


SIGN = np.ones((2, 3), np.float32)


def test_a_random_overload_is_told_from_a_constant_one():
    random = [node("RandomNormalLike", "u", "v")]
    steady = [node("Neg", "u", "v")]
    for drawn in ("", "other"):
        functions = [
            function("F", random if drawn == "" else steady),
            function("F", random if drawn == "other" else steady, overload="other"),
        ]
        for called in ("", "other"):
            whole = with_constant(
                [call("F", "w", "r", called)], weights={"w": SIGN}, functions=functions, opset_imports=BASE
            )
            assert variable(whole) == ({"r"} if called == drawn else set())


def test_a_random_overload_is_never_copied():
    """Both parts read the draw, and both have to see the same."""
    functions = [
        function("F", [node("Neg", "u", "v")]),
        function("F", [node("RandomNormalLike", "u", "v")], overload="o"),
    ]
    nodes = [
        call("F", "w", "r", "o"),
        node("Add", "x r", "a", "add"),
        node("Sub", "a r", "y", "sub"),
    ]
    whole = model(
        nodes, {"x": (2, 3)}, [value("y", [2, 3])], {"w": SIGN}, functions=functions, opset_imports=BASE, ir_version=10
    )
    graph = graph_io.load_graph(whole, granularity="node")
    for cut in graph_io.single_tensor_cuts(graph):
        head = graph_io.head_of_cut(graph, [cut])
        if len(head) in (0, len(graph)):
            continue
        parts = graph_io.split(graph, [head, [name for name in graph if name not in head]])
        drawing = [part for part in parts if any(one.overload == "o" for one in part.proto.graph.node)]
        assert len(drawing) == 1


def constant(name, tensor_value):
    return node("Constant", "", name, value=helper.make_tensor("t", TensorProto.BOOL, [], [tensor_value]))


@pytest.mark.parametrize(
    ("inputs", "before", "drawn"),
    [
        ("w", [], False),
        ("w ratio", [], False),
        ("w ratio _", [], False),
        ("w ratio off", [], False),
        ("w ratio on", [], True),
        ("w ratio switch", [constant("switch", False)], False),
        ("w ratio switch", [constant("switch", True)], True),
        ("w ratio switch", [node("Not", "on", "switch")], True),
    ],
)
def test_dropout_draws_only_while_it_trains(inputs, before, drawn):
    weights = {"w": SIGN, "ratio": np.float32(0.5), "on": np.array(True), "off": np.array(False)}
    whole = with_constant([*before, node("Dropout", inputs, "r")], weights=weights)
    assert variable(whole) == ({"r"} if drawn else set())


def test_the_switch_of_a_function_is_not_known():
    for inner, drawn in (("u u s", True), ("u u", False)):
        nodes = [constant("s", True), node("Dropout", inner, "v")] if drawn else [node("Dropout", inner, "v")]
        whole = with_constant([call("F", "w", "r")], weights={"w": SIGN}, functions=[function("F", nodes)])
        assert variable(whole) == ({"r"} if drawn else set())
    # A name of the main graph says nothing of the same name inside.
    inside = helper.make_function("local", "F", ["u", "off"], ["v"], [node("Dropout", "u u off", "v")], BASE)
    whole = with_constant([call("F", "w on", "r")], weights={"w": SIGN, "on": np.array(True)}, functions=[inside])
    whole.graph.initializer.append(helper.make_tensor("off", TensorProto.BOOL, [], [False]))
    assert variable(whole) == {"r"}


def dropout_body(name, switch, *, as_node=False):
    """Make a body with a Dropout whose switch is called ``t``, false or true or (None) an outer tensor's negation."""
    made = {True: [constant("t", switch)], False: []}[as_node and switch is not None]
    nodes = [*made, *([node("Not", "on", "t")] if switch is None else []), node("Dropout", "w ratio t", name)]
    body = helper.make_graph(nodes, name, [], [value(name, [2, 3])])
    if switch is not None and not as_node:
        body.initializer.append(helper.make_tensor("t", TensorProto.BOOL, [], [switch]))
    return body


@pytest.mark.parametrize("as_node", [False, True])
@pytest.mark.parametrize(
    ("switches", "drawn"),
    [((True, False), True), ((False, True), True), ((False, None), True), ((None, False), True), ((False,) * 2, False)],
)
def test_sibling_bodies_bind_one_name_to_different_switches(switches, drawn, as_node):
    bodies = [dropout_body(name, switch, as_node=as_node) for name, switch in zip("pq", switches, strict=True)]
    choice = node("If", "on", "r", then_branch=bodies[0], else_branch=bodies[1])
    weights = {"w": SIGN, "ratio": np.float32(0.5), "on": np.array(True)}
    assert variable(with_constant([choice], weights=weights)) == ({"r"} if drawn else set())


def test_the_input_of_a_function_is_not_the_constant_of_one_of_its_bodies():
    idle = helper.make_graph([constant("s", False), node("Dropout", "u half s", "p")], "p", [], [value("p", [2, 3])])
    nodes = [
        node("Constant", "", "half", value_float=0.5),
        constant("c", True),
        node("If", "c", "i", then_branch=idle, else_branch=idle),
        node("Dropout", "i half s", "v"),
    ]
    inner = helper.make_function("local", "F", ["u", "s"], ["v"], nodes, BASE)
    whole = with_constant([call("F", "w on", "r")], weights={"w": SIGN, "on": np.array(True)}, functions=[inner])
    assert variable(whole) == {"r"}


@pytest.mark.parametrize(
    ("domain", "name", "inputs", "drawn"),
    [
        ("", "RandomUniformLike", "w", True),
        ("ai.onnx", "Bernoulli", "w", True),
        ("local", "Bernoulli", "w", False),
        ("com.microsoft", "Sampling", "w", True),
        ("com.microsoft", "BitmaskDropout", "w ratio on", True),
        ("com.microsoft", "BitmaskDropout", "w ratio off", False),
        ("com.microsoft", "BiasDropout", "w w w ratio", False),
        ("com.microsoft", "BiasDropout", "w w w ratio on", True),
        ("local", "Dropout", "w ratio on", False),
    ],
)
def test_names_count_in_their_own_domain_alone(domain, name, inputs, drawn):
    weights = {"w": SIGN, "ratio": np.float32(0.5), "on": np.array(True), "off": np.array(False)}
    drawing = helper.make_node(name, inputs.split(), ["r"], domain=domain)
    assert variable(with_constant([drawing], weights=weights)) == ({"r"} if drawn else set())


def test_a_body_that_draws_and_a_function_that_calls_one_that_does():
    body = helper.make_graph([node("RandomNormal", "", "q", shape=[2, 3])], "body", [], [value("q", [2, 3])])
    nested = [constant("c", True), node("If", "c", "v", then_branch=body, else_branch=body)]
    functions = [
        function("Outer", [call("Inner", "u", "v")]),
        function("Inner", nested),
        function("Other", [node("Neg", "u", "v")]),
    ]
    for called, drawn in (("Outer", True), ("Inner", True), ("Other", False)):
        whole = with_constant([call(called, "w", "r")], weights={"w": SIGN}, functions=functions)
        assert variable(whole) == ({"r"} if drawn else set())


# --- functions that explode -------------------------------------------------------------------------------------------


def doubling(depth):
    """Make functions each of which calls the next one twice."""
    functions = []
    for level in range(depth):
        inner = f"F{level + 1}" if level + 1 < depth else "Tanh"
        own = "local" if inner != "Tanh" else ""
        nodes = [helper.make_node(inner, [a], [b], domain=own) for a, b in (("u", "w"), ("w", "v"))]
        functions.append(function(f"F{level}", nodes))
    return model(
        [call("F0", "x", "a"), node("Tanh", "a", "y")], {"x": (2, 3)}, ["y"], functions=functions, opset_imports=BASE
    )


@pytest.mark.parametrize("depth", [20, 40, 2000])
def test_functions_that_explode_are_refused_at_once(depth):
    before = time.monotonic()
    with pytest.raises(graph_io.ModelError, match="its functions make more than the 1000000 nodes"):
        graph_io.load_graph(doubling(depth))
    # Not a timing: it either ends at once or never.
    assert time.monotonic() - before < 30


def test_functions_that_do_not_explode_are_loaded():
    graph = graph_io.load_graph(doubling(4), granularity="node")
    assert len(graph) == 2


@pytest.mark.parametrize("calls", [["F"], ["G"]])
def test_functions_that_call_themselves_are_refused(calls):
    functions = [function("F", [call(calls[0], "u", "v")]), function("G", [call("F", "u", "v")])]
    whole = model([call("F", "x", "a"), node("Tanh", "a", "y")], {"x": (2, 3)}, ["y"], functions=functions)
    with pytest.raises(graph_io.ModelError, match=r"function '[FG]' calls itself, directly or through others"):
        graph_io.load_graph(whole)
    dataflow(whole)


def test_a_chain_of_functions_is_no_recursion():
    """Thousands of functions, each calling the next one once, take no stack."""
    functions = [function(f"F{level}", [call(f"F{level + 1}", "u", "v")]) for level in range(3000)]
    functions.append(function("F3000", [node("RandomNormalLike", "u", "v")]))
    whole = with_constant([call("F0", "w", "r")], weights={"w": SIGN}, functions=functions, opset_imports=BASE)
    assert variable(whole) == {"r"}
