"""Codecs as nodes: what crosses, how far the decoded tensor is off, and what no codec may carry."""

import numpy as np
import onnxruntime
import pytest

from graph_io import ModelError, load_graph, split
from graph_io.codec_nodes import Crossing, codec_models, with_codecs
from graph_io.codecs import CODECS, LOSSLESS, carried_names, codec_refusal, coded_name, coded_tensors
from tests.models import model, node, value
from tests.scale import scaled

OPSETS = (8, 9, 11, 13, 14, 17, 18, 21)


def opened(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def both_ways(array, codec, opset=17):
    dtype = str(array.dtype)
    encoder, decoder = codec_models(Crossing("t", dtype, array.shape), codec, opset)
    sender, receiver = opened(encoder), opened(decoder)
    names = [one.name for one in sender.get_outputs()]
    coded = dict(zip(names, sender.run(names, {"t": array}), strict=True))
    (back,) = receiver.run(None, coded)
    return coded, back


def steps(array, codec):
    """Return the size of one step of each value, by NumPy alone."""
    kind = CODECS[codec]
    wide = array.astype(np.float64)
    axes = tuple(axis for axis in range(array.ndim) if axis != 1) if kind.per_channel else None
    greatest, least = wide.max(axis=axes, keepdims=True), wide.min(axis=axes, keepdims=True)
    span = np.maximum(greatest, -least) if kind.symmetric else greatest - least
    return np.broadcast_to(span / kind.levels, array.shape)


def arrays(count):
    generator = np.random.default_rng(3)
    for number in range(count):
        shape = tuple(generator.integers(1, 6, size=generator.integers(2, 5)))
        array = generator.standard_normal(shape) * 10.0 ** generator.integers(-20, 20) + generator.integers(-3, 3)
        yield np.maximum(array, 0) if number % 3 == 0 else array


@pytest.mark.parametrize("codec", [name for name in CODECS if CODECS[name].levels])
def test_no_value_is_off_by_more_than_half_a_step(codec):
    for array in arrays(scaled(20, 300)):
        sent = array.astype(np.float32)
        _, back = both_ways(sent, codec)
        assert back.dtype == np.float32
        assert back.shape == sent.shape
        slack = 4e-6 * np.abs(sent).max() + 1e-36
        assert np.all(np.abs(back.astype(np.float64) - sent) <= 0.5001 * steps(sent, codec) + slack)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("codec", CODECS)
def test_every_opset_gives_the_same(codec, opset):
    array = np.random.default_rng(0).standard_normal((1, 3, 5, 7)).astype(np.float32)
    coded, back = both_ways(array, codec, opset)
    reference, expected = both_ways(array, codec)
    assert np.array_equal(back, expected)
    told = coded_tensors("t", array.shape, codec)
    assert [(one.name, one.dtype, one.shape) for one in told] == [
        (name, str(got.dtype), got.shape) for name, got in coded.items()
    ]
    assert sum(one.size_bytes for one in told) == sum(got.nbytes for got in coded.values())
    assert coded.keys() == reference.keys()


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "float16"])
def test_float16_features(codec):
    array = np.random.default_rng(1).standard_normal((2, 3, 8)).astype(np.float16)
    _, back = both_ways(array, codec)
    assert back.dtype == np.float16
    assert np.all(np.abs(back.astype(np.float64) - array) <= 0.5001 * steps(array, codec) + 2e-3 * np.abs(array).max())


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("constant", [0.0, 5.25, -3.5, 1e-30])
def test_a_constant_tensor_comes_back(codec, constant):
    array = np.full((2, 3, 4), constant, dtype=np.float32)
    _, back = both_ways(array, codec)
    if CODECS[codec].symmetric:
        assert np.abs(back - array).max() <= 1e-6 * abs(constant)
    elif CODECS[codec].levels:
        assert np.array_equal(back, array)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(0, 3), (1, 0, 4), (2, 3, 0)])
def test_an_empty_tensor_comes_back(codec, shape):
    coded, back = both_ways(np.zeros(shape, dtype=np.float32), codec)
    assert back.shape == shape
    for name, array in coded.items():
        if name.endswith(".scale"):
            assert np.all(np.isfinite(array))


@pytest.mark.parametrize("codec", [name for name in CODECS if CODECS[name].levels])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 77, -1])
def test_what_is_not_finite_shows_in_the_scale(codec, bad, place):
    array = np.random.default_rng(2).standard_normal((1, 4, 9, 9)).astype(np.float32)
    array.flat[place] = bad
    coded, _ = both_ways(array, codec)
    (scale,) = [one for name, one in coded.items() if name.endswith(".scale")]
    assert not np.all(np.isfinite(scale))


def test_eight_and_four_bits_are_a_quarter_and_an_eighth():
    raw = 4 * 64 * 56 * 56
    for codec, least in (("uint8", 3.99), ("int8", 3.99), ("uint8-channel", 3.9), ("uint4", 7.9), ("float16", 2.0)):
        assert raw / sum(one.size_bytes for one in coded_tensors("t", (1, 64, 56, 56), codec)) >= least


def test_names_come_apart_again():
    for codec in CODECS:
        names = carried_names("a::b/c.code", codec)
        assert [coded_name(name)[:2] for name in names] == [("a::b/c.code", codec)] * len(names)
    assert carried_names("t", LOSSLESS) == ("t",)
    for other in ("t", "t::uint9.code", "t::uint8.range", "::uint8.code", "t:uint8.code"):
        assert coded_name(other) is None


@pytest.mark.parametrize(
    ("codec", "dtype", "shape", "opset", "reason"),
    [
        ("gzip", "float32", (1, 2), 17, "codec 'gzip' is unknown"),
        ("uint8", "int64", (1, 2), 17, "takes float32 or float16, not int64"),
        ("float16", "float16", (1, 2), 17, "takes float32, not float16"),
        ("uint8-channel", "float32", (4,), 17, "needs an axis 1"),
        ("uint8", "float32", (), 17, "single one"),
        ("uint8", "float32", (4,), 7, "needs opset 8"),
    ],
)
def test_what_a_codec_does_not_take(codec, dtype, shape, opset, reason):
    assert reason in codec_refusal(codec, dtype, shape, opset)
    assert codec_refusal(LOSSLESS, dtype, shape, opset) is None


def parts_of_a_chain():
    nodes = [node("Mul", "x two", "a", "n0"), node("Tanh", "a", "b", "n1"), node("Add", "b a", "y", "n2")]
    whole = model(nodes, {"x": ("batch", 6)}, [value("y", ["batch", 6])], {"two": np.float32(2)})
    graph = load_graph(whole, granularity="node")
    return split(graph, [["n0"], ["n1", "n2"]])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("batch", [1, 3])
def test_parts_read_and_put_out_what_crosses(codec, batch):
    head, tail = parts_of_a_chain()
    table = {"a": Crossing("a", "float32", (1, 6))}
    names = carried_names("a", codec)
    sender = opened(with_codecs(head.proto, ["x"], names, table).SerializeToString())
    receiver = opened(with_codecs(tail.proto, names, ["y"], table).SerializeToString())
    assert [one.name for one in sender.get_outputs()] == list(names)
    x = np.random.default_rng(0).standard_normal((batch, 6)).astype(np.float32)
    coded = dict(zip(names, sender.run(list(names), {"x": x}), strict=True))
    (y,) = receiver.run(["y"], coded)
    assert np.abs(y - (np.tanh(2 * x) + 2 * x)).max() < (0.5 if CODECS[codec].packed else 0.05)
    kept = opened(with_codecs(head.proto, ["x"], ["a", *names], table).SerializeToString())
    assert np.array_equal(kept.run(["a"], {"x": x})[0], 2 * x)


def test_a_part_without_codecs_is_left_alone():
    head, _ = parts_of_a_chain()
    assert with_codecs(head.proto, ["x"], ["a"], {}) is head.proto


def test_a_name_that_is_taken_is_refused():
    nodes = [node("Tanh", "x", "a::uint8.code"), node("Neg", "a::uint8.code", "a")]
    whole = model(nodes, {"x": (1, 4)}, [value("a", [1, 4])])
    with pytest.raises(ModelError, match=r"has a tensor 'a::uint8.code', a name that codecs need"):
        with_codecs(whole, ["x"], carried_names("a", "uint8"), {"a": Crossing("a", "float32", (1, 4))})
