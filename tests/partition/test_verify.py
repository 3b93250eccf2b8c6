"""What verification allows, by the kind of output: floats, quantised values, whole numbers, random draws, bfloat16."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graph_io
from graph_io.quantised import OutputStep
from partition import InputError, partition
from partition.model_parts import split_model
from partition.runtime.verify import OutputComparison, Verification
from tests.graph_io.hard_models import ramp
from tests.models import FLOAT, model, node, value

SCALES = {"scale": np.float32(0.05), "zero": np.uint8(128), "coarse": np.float32(0.25)}
NARROW = ("bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")


def steps_of(proto):
    return graph_io.output_steps(graph_io.load_model(proto))


def quantise(source, target, scale="scale", zero="zero"):
    return [
        node("QuantizeLinear", f"{source} {scale} {zero}", f"{target}_q"),
        node("DequantizeLinear", f"{target}_q {scale} {zero}", target),
    ]


# --- how coarse an output is ------------------------------------------------------------------------------------


def test_steps_of_outputs():
    nodes = [
        node("Tanh", "x", "a"),
        *quantise("a", "b"),
        node("Reshape", "b flat", "moved"),
        node("Softmax", "b", "computed"),
        *quantise("computed", "c", "coarse"),
        node("Concat", "b c", "both", axis=1),
        node("Neg", "a", "plain"),
        node("Shape", "b", "shape"),
        node("Mul", "stored a", "weighted"),
        node("DequantizeLinear", "packed coarse", "stored"),
    ]
    nodes.insert(0, nodes.pop())
    outputs = ["b_q", "b", "moved", "computed", "both", "plain", "weighted"]
    typed = [value(name, None, TensorProto.UINT8 if name == "b_q" else FLOAT) for name in outputs]
    weights = SCALES | {"flat": np.array([-1]), "packed": np.array([3], np.int8)}
    scale, coarse = float(np.float32(0.05)), 0.25
    assert steps_of(model(nodes, {"x": (2, 3)}, [*typed, value("shape", [2], TensorProto.INT64)], weights)) == {
        "b_q": OutputStep(1.0, 1 / 127),
        "b": OutputStep(scale, 1 / 127),
        "moved": OutputStep(scale, 1 / 127),
        "computed": OutputStep(None, 1 / 127),
        "both": OutputStep(coarse, 1 / 127),
        "shape": OutputStep(None, 1 / 127),
    }


@pytest.mark.parametrize(
    ("zero", "relative"), [(np.int16(0), 1 / 32767), (np.uint16(0), 1 / 32767), (np.int8(0), 1 / 127)]
)
def test_the_type_gives_the_relative_step(zero, relative):
    nodes = [*quantise("x", "a"), node("Tanh", "a", "y")]
    proto = model(nodes, {"x": (2, 3)}, ["y"], {"scale": np.float32(0.1), "zero": zero}, opset=21, ir_version=10)
    assert steps_of(proto) == {"y": OutputStep(None, relative)}


def test_a_scale_per_channel_counts_as_its_largest():
    nodes = [
        node("QuantizeLinear", "x scales", "q", axis=1),
        node("DequantizeLinear", "q scales", "y", axis=1),
    ]
    proto = model(nodes, {"x": (2, 3)}, ["y"], {"scales": np.float32([0.1, 0.5, 0.2])})
    assert steps_of(proto)["y"].size == 0.5


def test_quantising_inside_bodies_and_functions_is_found():
    base = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Round", ["u", "s", "z"], ["v"], quantise("u", "v", "s", "z"), base)
    nodes = [helper.make_node("Round", ["x", "scale", "zero"], ["y"], domain="local")]
    opsets = [*base, helper.make_opsetid("local", 1)]
    proto = model(nodes, {"x": (2, 3)}, ["y"], SCALES, functions=[function], opset_imports=opsets)
    assert steps_of(proto) == {"y": OutputStep(None, 1 / 127)}
    branches = {
        f"{name}_branch": helper.make_graph(inner, name, [], [value(f"{name}_y", None)])
        for name, inner in (("then", quantise("x", "then_y")), ("else", [node("Neg", "x", "else_y")]))
    }
    proto = model([node("If", "yes", "y", **branches)], {"x": (2, 3)}, ["y"], SCALES | {"yes": np.array(True)})
    assert steps_of(proto) == {"y": OutputStep(None, 1 / 127)}


def test_dynamic_quantisation_is_found():
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z", "product"),
        node("Cast", "product", "wide", to=FLOAT),
        node("Mul", "wide s", "y"),
    ]
    outputs = [value("q", [2, 3], TensorProto.UINT8), value("y", [2, 3])]
    proto = model(nodes, {"x": (2, 3)}, outputs, {"w": np.arange(-4, 5, dtype=np.int8).reshape(3, 3)})
    assert steps_of(proto) == {"q": OutputStep(1.0, 1 / 127), "y": OutputStep(None, 1 / 127)}
    verification = partition(proto, "wifi", granularity="node", cut=["q", "s", "z"]).verify()
    assert verification.ok
    assert [output.step for output in verification.outputs] == [1.0, None]


# --- the verdict ------------------------------------------------------------------------------------------------


def compare(step, *, n_steps=0.0, error=0.0, tolerance=1e-5):
    return OutputComparison("y", error, False, True, tolerance, step=step, max_steps=n_steps)


def test_one_step_is_right_and_two_are_wrong():
    assert compare(0.05, n_steps=0.9999999, error=0.3).ok
    assert not compare(0.05, n_steps=2.0, error=0.3).ok
    assert compare(0.05, n_steps=2.0, error=1e-6).ok
    assert not compare(None, n_steps=None, error=0.3).ok
    assert str(compare(0.05, n_steps=1.0, error=0.3)) == "off by at most 1 quantisation step of 0.05 (allowed 1)"


def test_text_of_a_verification():
    good = OutputComparison("good", 0.0, True, True, 1e-5)
    wrong = OutputComparison("wrong", 0.5, False, True, 1e-5)
    drawn = OutputComparison("noise", float("nan"), False, True, 1e-5, drawn=True)
    assert str(Verification((good, drawn), 3, 1e-5)).splitlines() == [
        "verified: parts against the whole model, 3 inputs, 1 output: bit-identical",
        "note: not compared, since they are drawn at random: noise",
    ]
    verification = Verification((good, wrong, drawn), 3, 1e-5)
    verdict = "max error / max |reference| 0.5 (allowed 1e-05)"
    assert str(verification).splitlines()[:2] == [
        f"DIFFERENT: parts against the whole model, 3 inputs, 2 outputs: {verdict}",
        f"  output 'wrong': {verdict}",
    ]
    assert not verification.ok
    assert verification.max_relative_error == 0.5
    rows = verification.to_json()["outputs"]
    assert [(row["name"], row["ok"], row["drawn"]) for row in rows] == [
        ("good", True, False),
        ("wrong", False, False),
        ("noise", True, True),
    ]
    assert rows[2]["max_relative_error"] is None
    integers = OutputComparison("n", float("inf"), False, True, 0.0)
    assert "whole numbers" in str(Verification((integers,), 1, 1e-5))


def quantised_network(seed):
    """Draw a network whose softmax and sums lie between quantised tensors, as a quantised export has them."""
    generator = np.random.default_rng(seed)
    # Wide enough that the hash of the structure leaves the weights out.
    weights = {name: (generator.standard_normal((40, 40)) / 6.3).astype(np.float32) for name in ("w1", "w2", "w3")} | {
        "s1": np.float32(0.03),
        "s2": np.float32(0.004),
        "s3": np.float32(0.02),
        "zero": np.uint8(128),
    }
    nodes = [
        *quantise("x", "x1", "s1"),
        node("MatMul", "x1 w1", "a"),
        *quantise("a", "a1", "s1"),
        node("MatMul", "a1 w2", "b"),
        node("Softmax", "b", "c"),
        *quantise("c", "c1", "s2"),
        node("Add", "c1 a1", "d"),
        node("MatMul", "d w3", "e"),
        *quantise("e", "y", "s3"),
        node("Tanh", "y", "z"),
    ]
    outputs = [value("y", [4, 40]), value("z", [4, 40]), value("e_rounded", [4, 40], TensorProto.UINT8)]
    nodes.append(node("Identity", "y_q", "e_rounded"))
    return model(nodes, {"x": (4, 40)}, outputs, weights)


@pytest.mark.parametrize("seed", range(3))
def test_every_cut_of_a_quantised_network_is_verified(seed):
    graph = graph_io.load_graph(quantised_network(seed), granularity="node")
    cuts = graph_io.single_tensor_cuts(graph)
    assert len(cuts) >= 5
    for cut in cuts:
        verification = partition(graph, "wifi", cut=[cut]).verify(threads=1)
        assert verification.ok, (cut, str(verification))
        assert verification.depends_on_input
    by_name = {output.name: output for output in verification.outputs}
    assert by_name["y"].step == float(np.float32(0.02))
    assert by_name["e_rounded"].step == 1.0
    assert by_name["z"].step is None


def with_weight(proto, name, array):
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    for tensor in other.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    return other


def test_what_is_more_than_a_step_off_is_found(tmp_path):
    proto = quantised_network(0)
    saved = partition(proto, "wifi", granularity="node").save(tmp_path / "out")
    verification = saved.verify(with_weight(proto, "w3", -numpy_helper.to_array(proto.graph.initializer[2])))
    assert [output.ok for output in verification.outputs] == [False, False, False]
    assert str(verification).startswith("DIFFERENT")
    assert all(output.max_steps > 2 for output in verification.outputs if output.step is not None)
    strict = partition(proto, "wifi", granularity="node").verify(tolerance=0.0)
    assert {output.step for output in strict.outputs} == {None}


def test_a_given_tolerance_is_the_only_one():
    verification = partition(quantised_network(1), "wifi", granularity="node").verify(tolerance=0.25)
    assert verification.tolerance == 0.25
    assert {output.tolerance for output in verification.outputs} == {0.25, 0.0}  # whole numbers have to be equal


# --- draws ------------------------------------------------------------------------------------------------------


def test_outputs_that_are_drawn_are_not_compared():
    nodes = [
        node("RandomNormal", "", "r", shape=[2, 3]),
        node("Tanh", "x", "a"),
        node("Add", "a r", "noise"),
        node("Neg", "a", "y"),
    ]
    proto = model(nodes, {"x": (2, 3)}, [value("noise", [2, 3]), value("y", [2, 3])])
    assert graph_io.drawn_outputs(graph_io.load_model(proto)) == {"noise"}
    verification = partition(proto, "wifi", granularity="node").verify()
    assert verification.ok
    assert verification.bit_identical
    assert [output.name for output in verification.compared] == ["y"]
    assert "not compared, since they are drawn at random: noise" in str(verification)


@pytest.mark.parametrize("kind", ["Bernoulli", "Dropout", "body"])
def test_a_model_that_only_draws_cannot_be_compared(kind):
    weights = {"half": np.float32(0.5), "yes": np.array(True)}
    if kind == "Bernoulli":
        nodes = [node("Sigmoid", "x", "p"), node("Bernoulli", "p", "y")]
    elif kind == "Dropout":
        nodes = [node("Tanh", "x", "p"), node("Dropout", "p half yes", "y")]
    else:
        branches = {
            f"{name}_branch": helper.make_graph(
                [node(operator, "p", f"{name}_y")], name, [], [value(f"{name}_y", None)]
            )
            for name, operator in (("then", "RandomNormalLike"), ("else", "Neg"))
        }
        nodes = [node("Tanh", "x", "p"), node("If", "yes", "y", **branches)]
    plan = partition(model(nodes, {"x": (2, 3)}, [value("y", [2, 3])], weights), "wifi", granularity="node")
    with pytest.raises(InputError, match="draws all of its outputs at random"):
        plan.verify()


# --- types that NumPy has not -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NARROW)
def test_outputs_of_types_that_numpy_has_not(dtype):
    kind = getattr(TensorProto, dtype.upper())
    nodes = [node("Tanh", "x", "a"), node("Cast", "a", "narrow", to=kind), node("Cast", "narrow", "y", to=FLOAT)]
    outputs = [value("narrow", [2, 3], kind), value("y", [2, 3])]
    proto = model(nodes, {"x": (2, 3)}, outputs, opset=21, ir_version=10)
    for cut in (["a"], ["narrow"]):
        verification = partition(proto, "wifi", granularity="node", cut=cut).verify()
        assert verification.bit_identical
        assert verification.depends_on_input


def test_a_wrong_bfloat16_output_is_found(tmp_path):
    nodes = [node("Mul", "x w", "a"), node("Cast", "a", "y", to=TensorProto.BFLOAT16)]
    proto = model(nodes, {"x": (2, 3)}, [value("y", [2, 3], TensorProto.BFLOAT16)], {"w": ramp(4096, 1, 3)}, opset=17)
    proto.graph.output[0].CopyFrom(value("y", None, TensorProto.BFLOAT16))
    saved = partition(proto, "wifi", granularity="node").save(tmp_path / "out")
    verification = saved.verify(with_weight(proto, "w", 2 * ramp(4096, 1, 3)))
    assert verification.max_relative_error == pytest.approx(0.5, abs=0.01)
    assert not verification.ok


def test_inputs_that_the_whole_model_alone_refuses():
    """Only its declared shape tells that an open batch of 1 was planned where the model has it fixed."""
    whole = model(
        [node("Tanh", "x", "t"), node("Neg", "t", "y")], {"x": (1, 4), "u": (1, 3)}, ["y", value("u", (1, 3))]
    )
    feeds = {"x": np.ones((1, 4), np.float32), "u": np.ones((2, 3), np.float32)}
    with pytest.raises(InputError, match=r"the whole model failed in onnxruntime: .*u"):
        split_model(whole, [["t", "u"]]).verify(inputs=[feeds])
