"""Families of exits: one model with several outputs or several models, in an order that makes sense."""

import numpy as np
import onnx
import pytest

from partition import InputError
from partition.exits.family import ExitFamily, Way
from tests.models import model, node, relu_chain, value
from tests.partition.exits.families import apart, branchy, single


def test_all_outputs_are_exits():
    family = ExitFamily.parse(branchy())
    assert family.joint
    assert family.name == "branchy"
    assert family.names == ("early", "middle", "late")
    assert family.exit("middle").output == "middle"
    assert ExitFamily.parse(family) is family


def test_some_outputs_in_another_order():
    assert ExitFamily.parse(branchy(outputs=("late", "early", "middle")), ["early", "late"]).names == ("early", "late")


def test_all_ways():
    assert list(ExitFamily.parse(branchy()).ways()) == [
        Way((), "early"),
        Way((), "middle"),
        Way(("early",), "middle"),
        Way((), "late"),
        Way(("early",), "late"),
        Way(("middle",), "late"),
        Way(("early", "middle"), "late"),
    ]
    assert str(Way(("early", "middle"), "late")) == "early+middle+late"


def test_one_exit_has_one_way_and_none_on_the_device():
    assert list(ExitFamily.parse(relu_chain()).ways()) == [Way((), "y")]


def test_several_models():
    family = ExitFamily.parse({"small": single(0, 4, name="a"), "large": single(1, 16, name="b")}, {"large": "r"})
    assert not family.joint
    assert [(one.name, one.output, one.model.name) for one in family.exits] == [
        ("small", "logits", "a"),
        ("large", "r", "b"),
    ]
    assert family.name == "small+large"
    assert len(list(family.ways())) == 3


def test_files_are_called_as_they_are(tmp_path):
    onnx.save(single(0, 4, name="a"), tmp_path / "small.onnx")
    onnx.save(single(1, 8, name="b"), tmp_path / "large.onnx")
    family = ExitFamily.of_files([tmp_path / "small.onnx", tmp_path / "large.onnx"], ["small=r"])
    assert [(one.name, one.output) for one in family.exits] == [("small", "r"), ("large", "logits")]
    assert ExitFamily.of_files([tmp_path / "small.onnx"], ["r", "logits"]).names == ("r", "logits")
    (tmp_path / "more").mkdir()
    onnx.save(single(1, 8, name="b"), tmp_path / "more" / "small.onnx")
    with pytest.raises(InputError, match="called the same"):
        ExitFamily.of_files([tmp_path / "small.onnx", tmp_path / "more" / "small.onnx"])
    with pytest.raises(InputError, match="NAME=VALUE"):
        ExitFamily.of_files([tmp_path / "small.onnx", tmp_path / "large.onnx"], ["small"])


def nine():
    return model([node("Tanh", "x", f"y{at}") for at in range(9)], {"x": [1, 4]}, [f"y{at}" for at in range(9)])


def passing():
    """An output that is an input, and one that depends on none."""
    nodes = [node("Tanh", "x", "y"), node("Neg", "c", "d")]
    outputs = ["y", value("x", [1, 4]), value("d", [1, 4])]
    return model(nodes, {"x": [1, 4]}, outputs, {"c": np.ones((1, 4), np.float32)})


@pytest.mark.parametrize(
    ("models", "exits", "reason"),
    [
        (branchy, ["early", "nothing"], "'nothing' is not an output of model 'branchy'; its outputs are early"),
        (branchy, ["early", "early"], "named more than once"),
        (branchy, [], "there is no exit"),
        (branchy, "early", "name its outputs in order"),
        (branchy, {"early": "early"}, "name its outputs in order"),
        (branchy, ["late", "middle"], r"exit 'middle' of 'branchy' needs no layer that the earlier exits \(late\)"),
        (branchy, ["early", "late", "middle"], r"exit 'middle' .* \(early, late\) do not need; put it before"),
        (nine, None, "9 exits are more than 8"),
        (passing, ["y", "x"], "exit 'x' of 'small' does not depend on what a layer computes"),
        (passing, ["y", "d"], "exit 'd' of 'small' does not depend"),
        (dict, None, "there is no exit"),
        (lambda: {"": branchy()}, None, "an exit is named ''"),
        (lambda: {"a": branchy()}, ["early"], "give a mapping of exits to their outputs"),
        (lambda: {"a": branchy()}, {"b": "early"}, "exit 'b' is no model of this family"),
        (lambda: {"a": branchy()}, {"a": "nothing"}, "'nothing' is not an output"),
        (lambda: {f"m{at}": single(at, 2, name="m") for at in range(9)}, None, "9 exits are more than 8"),
    ],
)
def test_bad_families(models, exits, reason):
    with pytest.raises(InputError, match=reason):
        ExitFamily.parse(models(), exits)


def test_models_of_a_family_agree_on_inputs():
    other = model([node("Cast", "x", "y", to=1)], [value("x", [1, 8], onnx.TensorProto.DOUBLE)], ["y"])
    with pytest.raises(InputError, match="input 'x' is float32 for exit 'a' and float64 for exit 'b'"):
        ExitFamily.parse({"a": single(0, 4, name="a"), "b": other})
    assert ExitFamily.parse({"a": single(0, 4, name="a"), "b": apart()}).names == ("a", "b")


def test_an_unknown_exit_and_exits_beside_a_family():
    family = ExitFamily.parse(branchy())
    with pytest.raises(InputError, match="exit 'nothing' is not in 'branchy'; its exits are early"):
        family.exit("nothing")
    with pytest.raises(InputError, match="beside an ExitFamily"):
        ExitFamily.parse(family, ["early"])
