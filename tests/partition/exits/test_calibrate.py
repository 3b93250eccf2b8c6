"""Exits measured on data: against plain counts, on one model and several, and what bad data is told."""

import numpy as np
import pytest

from partition import InputError, calibrate_exits, given_exits, partition
from partition.exits.calibrate import rest_inputs
from partition.exits.confidence import confidence_of
from partition.exits.family import ExitFamily, Way
from partition.exits.segments import segments
from tests.models import model, node, value
from tests.partition.exits.families import CLASSES, answers, branchy, rows, single


def softmax(values):
    shifted = np.exp(values.astype(np.float64) - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def test_accuracies_and_confidences_are_counted():
    data = rows(40)
    shares = []
    table = calibrate_exits(branchy(), data, progress=shares.append)
    outputs = [answers(branchy(), inputs) for inputs, _ in data]
    for record, name in zip(table.exits, ("early", "middle", "late"), strict=True):
        right = [float(one[name].argmax() == label) for one, (_, label) in zip(outputs, data, strict=True)]
        assert record.name == record.output == name
        assert record.scores.tolist() == right
        assert record.accuracy == np.mean(right)
        np.testing.assert_allclose(record.confidences, [softmax(one[name]).max() for one in outputs], rtol=1e-12)
    assert table.measured
    assert (table.n_inputs, table.score, table.confidence) == (40, "top-1", "softmax")
    assert table.data.kind == "memory"
    assert len(table.inputs) == len(table.labels) == 40
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert "40 inputs in memory" in str(table)
    assert "middle" in str(table)


def test_several_models_and_fewer_inputs():
    models = {"small": single(0, 4, name="a"), "large": single(1, 16, name="b")}
    data = rows(12)
    table = calibrate_exits(models, data, limit=7, confidence="max")
    assert table.n_inputs == 7
    for record in table.exits:
        logits = [answers(models[record.name], inputs)["logits"] for inputs, _ in data[:7]]
        assert record.scores.tolist() == [
            float(one.argmax() == label) for one, (_, label) in zip(logits, data, strict=False)
        ]
        assert record.confidences.tolist() == [float(one.max()) for one in logits]
    assert [one.model_name for one in table.exits] == ["a", "b"]


def test_a_folder_of_several_inputs_a_file(tmp_path):
    data = rows(10)
    for at, span in enumerate((slice(0, 4), slice(4, 5), slice(5, 10))):
        inputs = np.concatenate([inputs["x"] for inputs, _ in data[span]])
        np.savez(tmp_path / f"{at}.npz", x=inputs, digit=np.array([label for _, label in data[span]]))
    table = calibrate_exits(branchy("batch"), tmp_path, labels="digit")
    assert table.n_inputs == 10
    assert table.label_name == "digit"
    assert table.data.folder == str(tmp_path.resolve())
    assert [one.accuracy for one in table.exits] == [one.accuracy for one in calibrate_exits(branchy(), data).exits]
    again = calibrate_exits(branchy("batch"), tmp_path, labels="digit")
    assert again.data == table.data
    np.savez(tmp_path / "1.npz", x=data[4][0]["x"], digit=(data[4][1] + 1) % CLASSES)
    assert calibrate_exits(branchy("batch"), tmp_path, labels="digit").data.sha256 != table.data.sha256


def test_rows_of_one_input_share_its_score_and_the_least_confidence():
    draw = np.random.default_rng(4)
    inputs = {"x": draw.standard_normal((2, 8)).astype(np.float32)}
    late = answers(branchy(2), inputs)["late"]
    right = int(late[0].argmax())
    labels = np.array([right, (int(late[1].argmax()) + 1) % CLASSES])
    table = calibrate_exits(branchy(2), [(inputs, labels)])
    assert table.exits[-1].scores.tolist() == [0.5]
    assert table.exits[-1].confidences[0] == pytest.approx(softmax(late).max(axis=-1).min())


def near(outputs, label):
    """Half a point for the class beside the right one."""
    ((_, values),) = outputs.items()
    return {0: 1.0, 1: 0.5}.get(abs(int(values.argmax()) - int(label)), 0.0)


def test_a_score_of_the_users():
    data = rows(10)
    table = calibrate_exits(branchy(), data, score=near)
    assert table.score == "tests.partition.exits.test_calibrate:near"
    assert set(np.concatenate([one.scores for one in table.exits])) == {0.0, 0.5, 1.0}
    named = calibrate_exits(branchy(), data, score="tests.partition.exits.test_calibrate:near")
    assert named.to_json() == table.to_json()


def test_codecs_of_every_rest():
    data = rows(5)
    table = calibrate_exits(branchy(), data, exits=["early", "late"], codecs=["uint8", "float16"])
    family = ExitFamily.parse(branchy(), ["early", "late"])
    assert set(table.codecs) == set(family.ways())
    way = Way(("early",), "late")
    codecs = table.codecs[way]
    assert codecs.metric == "top-1"
    assert codecs.tensors[0].name == "a0"
    assert {one.codec for one in codecs.tensors[0].codecs} == {"uint8", "float16"}
    cut = segments(family, way)
    plan = partition(cut.rest, "100kbps", codecs=codecs, max_loss=1.0, granularity="node")
    assert plan.model.name == "branchy.rest-early+late"
    # They are measured on what the heads hand over.
    given = rest_inputs(cut, [inputs for inputs, _ in data])
    assert all(np.array_equal(one["a0"], other["a0"]) for one, other in zip(given, codecs.inputs, strict=True))
    assert np.array_equal(answers(cut.rest, given[0])["late"], answers(branchy(), data[0][0])["late"])


def test_codecs_of_several_models_do_not_depend_on_what_was_before():
    models = {"small": single(0, 4, name="a"), "large": single(1, 16, name="b")}
    table = calibrate_exits(models, rows(3), codecs=True)
    assert table.codecs[Way(("small",), "large")] is table.codecs[Way((), "large")]


def with_output(kind):
    """An exit whose output is not finite, or has a single class."""
    nodes = {
        "nan": [node("Sqrt", "x", "y")],
        "infinite": [node("Log", "x", "l"), node("Neg", "l", "y")],
        "single": [node("ReduceMean", "x", "y", axes=[1])],
        "scalar": [node("ReduceMean", "x", "y", keepdims=0)],
        "text": [node("Cast", "x", "y", to=8)],
    }[kind]
    return model(nodes, {"x": [1, 8]}, [value("y", None, 8)] if kind == "text" else ["y"])


SIGNS = {"x": np.array([[1, -1, 1, 1, 1, 1, 1, 1]], np.float32)}
ZERO = {"x": np.array([[1, 0, 1, 1, 1, 1, 1, 1]], np.float32)}


@pytest.mark.parametrize(
    ("models", "data", "options", "reason"),
    [
        (branchy, [], {}, "data holds no input"),
        (branchy, [SIGNS], {}, r"data input 0 is a dict; give pairs of \(inputs by name, label\)"),
        (branchy, [(SIGNS, 0, 1)], {}, "data input 0 is a tuple"),
        (branchy, 3, {}, "data is 3; give a folder"),
        (branchy, [({"x": np.zeros((1, 7), np.float32)}, 0)], {}, r"input 'x' has shape \[1, 7\], planned is \[1, 8\]"),
        (branchy, [({"x": np.zeros((1, 8))}, 0)], {}, "has type float64, the model takes float32"),
        (branchy, [({"y": np.zeros((1, 8))}, 0)], {}, "'y' is not an input of the model"),
        (branchy, [(SIGNS, 3)], {}, "exit 'early', input 0 of the data: its label is 3; the output has 3 classes"),
        (branchy, [(SIGNS, 0), (SIGNS, -1)], {}, "input 1 of the data: its label is -1"),
        (branchy, [(SIGNS, 0.0)], {}, "its label is of float64; labels are whole numbers"),
        (branchy, [(SIGNS, True)], {}, "its label is of bool"),
        (branchy, [(SIGNS, None)], {}, "its label is None"),
        (branchy, [(SIGNS, [0, 1])], {}, r"labels of shape \[2\] for an output of shape \[1, 3\]"),
        (branchy, [({"x": np.zeros((2, 8), np.float32)}, [0, 1, 2])], {}, r"labels of shape \[3\] for 2 inputs"),
        (branchy, [({"x": np.zeros((2, 8), np.float32)}, 0)], {}, r"labels of shape \[\] for 2 inputs"),
        (branchy, [(SIGNS, 0)], {"labels": "x"}, "labels is 'x', which is an input"),
        (branchy, [(SIGNS, 0)], {"confidence": "entropy"}, "confidence is 'entropy'; use 'softmax', 'max'"),
        (branchy, [(SIGNS, 0)], {"score": "nice"}, "score 'nice' is unknown; use top-1"),
        (branchy, [(SIGNS, 0)], {"score": 3}, "score is 3"),
        (branchy, [(SIGNS, 0)], {"score": "nowhere:f"}, "score 'nowhere:f' cannot be imported"),
        (branchy, [(SIGNS, 0)], {"score": lambda outputs, label: 2.0}, r"returned 2.0; return a number from 0 to 1"),
        (branchy, [(SIGNS, 0)], {"score": lambda outputs, label: float("nan")}, "returned nan"),
        (branchy, [(SIGNS, 0)], {"score": lambda outputs, label: 1 / 0}, "failed: ZeroDivisionError"),
        (branchy, [(SIGNS, 0)], {"score": near, "codecs": True}, "leave codecs or the score out"),
        (branchy, [(SIGNS, 0)], {"codecs": ["jpeg"]}, "codec 'jpeg' is unknown"),
        (branchy, [(SIGNS, 0)], {"threads": 0}, "threads"),
        (branchy, [(SIGNS, 0)] * 3, {"limit": -1}, "limit is -1; give a whole number of 1 or more"),
        (branchy, [(SIGNS, 0)] * 3, {"limit": 1.5}, "limit is 1.5"),
        (lambda: with_output("nan"), [(SIGNS, 0)], {}, "exit 'y', input 0 of the data: the output holds NaN"),
        (lambda: with_output("infinite"), [(ZERO, 0)], {}, "the confidence is nan, since the output is infinite"),
        (lambda: with_output("infinite"), [(ZERO, 0)], {"confidence": "max"}, "the confidence is inf"),
        (lambda: with_output("single"), [(ZERO, 0)], {}, "and so a single class"),
        (lambda: with_output("scalar"), [(ZERO, 0)], {}, "its last axis has to hold the classes"),
        (lambda: with_output("text"), [(ZERO, 0)], {}, "an exit's output is of object"),
        (
            lambda: {"a": single(0, 4, name="a"), "b": model([node("Tanh", "x", "y")], {"x": [1, 9]}, ["y"], name="b")},
            [(SIGNS, 0)],
            {},
            r"input 'x' has shape \[1, 8\] in an earlier model of 'a\+b' and \[1, 9\] in 'b'",
        ),
    ],
)
def test_bad_data(models, data, options, reason):
    with pytest.raises(InputError, match=reason):
        calibrate_exits(models(), data, **options)


def test_a_folder_without_labels(tmp_path):
    np.savez(tmp_path / "a.npz", **SIGNS)
    with pytest.raises(InputError, match=r"a.npz': the labels 'label' are missing; its arrays are x"):
        calibrate_exits(branchy(), tmp_path)
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 8), np.float32), label=np.zeros(2, np.int64))
    with pytest.raises(InputError, match=r"labels of shape \[2\] for 3 inputs"):
        calibrate_exits(branchy(), tmp_path)


def test_accuracies_that_are_given():
    table = given_exits(branchy(), {"early": 0.5, "middle": 1, "late": 0.75})
    assert not table.measured
    assert [one.accuracy for one in table.exits] == [0.5, 1.0, 0.75]
    assert {one.source for one in table.exits} == {"given"}
    assert table.exits[0].scores is None
    assert "accuracies given" in str(table)
    for accuracies, reason in (
        ({"early": 0.5}, "accuracy of exit 'middle' is missing"),
        ({"first": 0.5}, "accuracy of 'first': there is no such exit"),
        ({"early": 1.5, "middle": 1, "late": 1}, "accuracy of exit 'early' is 1.5"),
        ({"early": float("nan"), "middle": 1, "late": 1}, "accuracy of exit 'early' is nan"),
        ({"early": True, "middle": 1, "late": 1}, "accuracy of exit 'early' is True"),
    ):
        with pytest.raises(InputError, match=reason):
            given_exits(branchy(), accuracies)


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        ([[0.0, 0.0]], "softmax", 0.5),
        ([[1e30, 0.0]], "softmax", 1.0),
        ([[-np.inf, 2.0, 2.0]], "softmax", 0.5),
        ([[0.1, 0.9], [0.4, 0.6]], "max", 0.6),
        ([[5.0, 0.0], [0.0, 0.0]], "softmax", 0.5),
        ([0, 3], "max", 3.0),
    ],
)
def test_confidences(values, kind, wanted):
    assert confidence_of(np.array(values), kind) == pytest.approx(wanted)


def test_a_confidence_that_no_threshold_is_below():
    for kind in ("softmax", "max"):
        assert np.isnan(confidence_of(np.array([[0.0, 1.0], [np.nan, 1.0]]), kind))
    assert np.isnan(confidence_of(np.array([[np.inf, 1.0]]), "softmax"))
    for values in (np.float32(1.0), np.empty((0, 3)), np.array(["a"]), [1.0]):
        with pytest.raises(InputError, match="an exit's output"):
            confidence_of(values, "max")
    with pytest.raises(InputError, match="confidence is 'least'"):
        confidence_of(np.ones(2), "least")
