"""The table of types in docs/models.md, executed: each type as an input, between two parts, and as an output."""

import re
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from partition import partition
from partition.errors import LIBRARY_ERRORS
from tests.models import FLOAT, model, node, value

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ELEMENT_TYPES = {
    **{f"float{bits}": name for bits, name in ((16, "FLOAT16"), (32, "FLOAT"), (64, "DOUBLE"))},
    **{
        name: name.upper()
        for name in ("bool", "bfloat16", "string", "complex64", "complex128", "float4e2m1", "float6e2m3", "float6e3m2")
    },
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
    **{name: name.upper() for name in ("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0")},
}
# Their operators came with later versions, which an older onnx or runtime lacks.
RECENT = {"int2", "uint2", "float8e8m0", "float4e2m1", "float6e2m3", "float6e3m2"}
OTHERS = {"sequence", "optional", "map"}


def rows():
    """Return each type of the table with what it says of input, between and output."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[1] in ("yes", "no"):
            found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), tuple(cell == "yes" for cell in cells[1:4]))
    return found


TABLE = rows()


def test_the_table_has_every_type():
    assert set(TABLE) == set(ELEMENT_TYPES) | OTHERS
    # Types of later releases of onnx are to be tried and listed.
    assert set(TensorProto.DataType.keys()) <= {"UNDEFINED", *ELEMENT_TYPES.values()}


def cast(source, target, to):
    return node("Cast", source, target, to=to)


def works(proto, cut, **more):
    try:
        plan = partition(proto, "wifi", cut=cut, granularity="node", **more)
        verification = plan.verify()
    except LIBRARY_ERRORS:
        return False
    assert verification.ok, str(verification)
    return True


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("name", ELEMENT_TYPES)
def test_a_type(name):
    element_type = getattr(TensorProto, ELEMENT_TYPES[name], None)
    if element_type is None:
        pytest.skip(f"this release of onnx has no {name}")
    if name.startswith(("bfloat16", "float8", "int4", "uint4")):
        pytest.importorskip("ml_dtypes")
    more = {"opset": 25 if name in RECENT else 23, "ir_version": 10}
    wide = [value("x", (2, 4))]
    as_input = model(
        [cast("x", "a", FLOAT), node("Tanh", "a", "y")],
        [value("x", (2, 4), element_type)],
        [value("y", (2, 4))],
        **more,
    )
    between = [node("Tanh", "x", "a"), cast("a", "b", element_type), cast("b", "y", FLOAT)]
    as_output = [node("Tanh", "x", "a"), cast("a", "y", element_type)]
    found = (
        works(as_input, "a", inputs={"x": np.full((2, 4), "0.25", object)} if name == "string" else None),
        works(model(between, wide, [value("y", (2, 4))], **more), "b"),
        works(model(as_output, wide, [value("y", (2, 4), element_type)], **more), "a"),
    )
    if name in RECENT and found == (False, False, False) != TABLE[name]:
        pytest.skip(f"this runtime has no {name}")
    assert found == TABLE[name]


def test_sequences_cross_nowhere():
    index = {"i": np.array(0)}
    sequence = helper.make_tensor_sequence_value_info
    as_input = model(
        [node("SequenceAt", "x i", "b"), node("Neg", "b", "y")], [sequence("x", FLOAT, None)], ["y"], index
    )
    inside = [node("SequenceConstruct", "x x", "s"), node("SequenceAt", "s i", "b"), node("Neg", "b", "y")]
    as_output = [node("Tanh", "x", "a"), node("SequenceConstruct", "a x", "y")]
    assert not works(as_input, "b")
    assert not works(model(inside, {"x": (1, 4)}, ["y"], index), "s")
    assert not works(model(as_output, {"x": (1, 4)}, [sequence("y", FLOAT, None)]), "a")


def test_a_sequence_inside_a_body_is_no_matter():
    made = [node("SequenceConstruct", "t t", "s"), node("SequenceAt", "s i", "n")]
    body = helper.make_graph(made, "body", [], [value("n", (1, 4))])
    nodes = [node("Tanh", "x", "t"), node("If", "flag", "y", then_branch=body, else_branch=body)]
    inputs = [value("x", (1, 4)), value("flag", (), TensorProto.BOOL)]
    assert works(model(nodes, inputs, [value("y", (1, 4))], {"i": np.array(0)}), ["t", "flag"])
