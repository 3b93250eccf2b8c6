"""Split sessions: what goes in is checked, what comes out is the model's; and how far two arrays are apart."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition import InputError, load_plan, partition
from partition.model_parts import split_model
from partition.runtime.files import default_inputs, read_inputs, write_outputs
from partition.runtime.verify import relative_error
from tests.models import model, node, random_model, relu_chain, transformer_block, value
from tests.partition.conftest import entries
from tests.partition.costs import timings_of
from tests.scale import scaled

FLOATS = np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)


@pytest.fixture
def session():
    with partition(relu_chain(), "wifi", cut=["t0"]).session() as opened:
        yield opened


def whole_outputs(proto, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    whole = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in whole.get_outputs()]
    return dict(zip(names, whole.run(names, feeds), strict=True))


# --- inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feeds", "problem"),
    [
        ({}, "input 'x' is missing; the model's inputs are x"),
        ({"x": FLOATS, "z": FLOATS}, "input 'z' is not in the model; its inputs are x"),
        ({"x": FLOATS.astype(np.float64)}, "input 'x' has type float64, the model takes float32; convert it first"),
        ({"x": FLOATS.astype(np.int64)}, "input 'x' has type int64"),
        ({"x": FLOATS.astype(object)}, "input 'x' has type object"),
        ({"x": FLOATS.astype(">f4")}, "input 'x' has type >f4, the model takes float32"),
        ({"x": FLOATS[0]}, r"input 'x' has shape \[4\], the model takes \[1, 4\]"),
        ({"x": FLOATS.T}, r"input 'x' has shape \[4, 1\]"),
        ({"x": FLOATS[:, :3]}, r"input 'x' has shape \[1, 3\]"),
        ({"x": np.float32(1)}, "input 'x' is a float32; pass a numpy array"),
        ({"x": FLOATS.tolist()}, "input 'x' is a list; pass a numpy array"),
        ({"x": None}, "input 'x' is a NoneType; pass a numpy array"),
    ],
)
def test_inputs_that_cannot_be_run(session, feeds, problem):
    with pytest.raises(InputError, match=problem):
        session.run(feeds)
    assert list(session.run({"x": FLOATS})) == ["y"]  # and the session lives on


def handing_on(shape, batch=1):
    """Make a model that puts out its input ``u`` as it came, beside one that it computes with."""
    whole = relu_chain(shape=(batch, 4))
    whole.graph.input.append(value("u", shape))
    whole.graph.output.append(value("u", shape))
    return whole


HANDED = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("handed", "problem"),
    [
        (HANDED.astype(np.float64), "input 'u' has type float64, the model takes float32; convert it first"),
        (HANDED.T, r"input 'u' has shape \[3, 2\], the model takes \[2, 3\]"),
        (HANDED[0], r"input 'u' has shape \[3\], the model takes \[2, 3\]"),
    ],
)
def test_an_input_that_no_part_reads_is_checked_too(handed, problem):
    parts = split_model(handing_on([2, 3]), [["t0", "u"]])
    with parts.session() as session:
        with pytest.raises(InputError, match=problem):
            session.run({"x": FLOATS, "u": handed})
        assert np.array_equal(session.run({"x": FLOATS, "u": HANDED})["u"], HANDED)
    with pytest.raises(InputError, match=problem):
        parts.verify(inputs=[{"x": FLOATS, "u": handed}])


@pytest.mark.parametrize("dims", [{"seq": 3}, {"seq": 3, "N": 5}])
def test_an_input_that_no_part_reads_may_have_other_open_dimensions(dims):
    with split_model(handing_on(["N", "seq"], "N"), [["t0", "u"]], dims=dims).session() as session:
        for n, length in ((1, 3), (2, 3), (2, 7)):
            feeds = {"x": np.repeat(FLOATS, n, axis=0), "u": np.ones((n, length), np.float32)}
            assert session.run(feeds)["u"].shape == (n, length)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda array: np.repeat(array, 2, axis=1)[:, ::2]])
def test_the_layout_in_memory_does_not_matter(session, layout):
    assert np.array_equal(session.run({"x": layout(FLOATS)})["y"], session.run({"x": FLOATS})["y"])


def test_running_leaves_the_inputs_alone(session):
    feeds = {"x": FLOATS.copy()}
    session.run(feeds)
    assert list(feeds) == ["x"]
    assert np.array_equal(feeds["x"], FLOATS)


def test_a_closed_session_says_so(session):
    session.close()
    session.close()
    with pytest.raises(InputError, match=r"closed; open another with plan\.session\(\)"):
        session.run({"x": FLOATS})
    with partition(relu_chain(), "wifi").session() as inner:
        pass
    with pytest.raises(InputError, match="closed"):
        inner.run({"x": FLOATS})


def test_repr_is_one_line(session):
    assert repr(session) == "<SplitSession of 'small', 2 parts>"


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2"])
def test_threads_that_cannot_be(threads):
    with pytest.raises(InputError, match=r"threads is .*; give a whole number of 1 or more"):
        partition(relu_chain(), "wifi").session(threads=threads)


def test_a_part_that_fails_is_named():
    proto = model(
        [node("Tanh", "x", "t"), node("Gather", "t which", "y", axis=1)],
        [value("x", [1, 4]), value("which", [1], 7)],
        [value("y", [1, 1])],
    )
    with (
        partition(proto, "wifi", granularity="node", cut=["t", "which"]).session() as opened,
        pytest.raises(InputError, match=r"^part-1\.server\.onnx failed in onnxruntime"),
    ):
        opened.run({"x": FLOATS, "which": np.array([99])})


# --- models of all kinds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 3), (5, 3), (2, 9)])
def test_dimensions_that_the_model_leaves_open_stay_open(sizes, tmp_path):
    proto = model(
        [node("Tanh", "x", "t"), node("Relu", "t", "y")], {"x": ("batch", "seq")}, [value("y", ["batch", "seq"])]
    )
    plan = partition(proto, "wifi", dims={"seq": 3}, granularity="node", cut=["t"]).save(tmp_path / "out")
    feeds = {"x": np.random.default_rng(0).standard_normal(sizes).astype(np.float32)}
    with load_plan(tmp_path / "out").session() as opened:
        assert np.array_equal(opened.run(feeds)["y"], whole_outputs(proto, feeds)["y"])
        with pytest.raises(InputError, match=r"has shape \[3\], the model takes \['batch', 'seq'\]"):
            opened.run({"x": FLOATS[0, :3]})
    assert plan.model.dims == {"seq": 3}


@pytest.mark.parametrize("sequence", [7, "seq"])
def test_attention_cut_in_the_middle(sequence, tmp_path):
    proto = transformer_block(sequence=sequence)
    dims = {"seq": 7} if sequence == "seq" else None
    plan = partition(proto, "wifi", dims=dims, cut=["b0_norm2"])
    verification = plan.verify()
    assert verification.ok
    assert verification.depends_on_input
    plan.save(tmp_path / "out")
    lengths = (7, 3) if sequence == "seq" else (7,)
    with load_plan(tmp_path / "out").session() as opened:
        for length in lengths:
            feeds = {"x": np.random.default_rng(1).standard_normal((1, length, 32)).astype(np.float32)}
            assert relative_error(opened.run(feeds)["y"], whole_outputs(proto, feeds)["y"]) <= 1e-5


def test_an_output_that_is_an_input_comes_back_as_it_went_in():
    proto = model([node("Tanh", "x", "y")], {"x": (1, 4), "u": (2,)}, [value("u", [2]), value("y", [1, 4])])
    feeds = {"x": FLOATS, "u": np.array([3, 4], dtype=np.float32)}
    for cut in (None, ["x", "u"], ["u", "y"]):
        plan = partition(proto, "wifi", cut=cut)
        with plan.session() as opened:
            outputs = opened.run(feeds)
        assert list(outputs) == ["u", "y"]
        assert np.array_equal(outputs["u"], feeds["u"])
        assert plan.verify().ok


def test_an_input_that_is_read_and_is_an_output():
    proto = model([node("Tanh", "x", "y")], {"x": (1, 4)}, [value("x", [1, 4]), value("y", [1, 4])])
    for output_on in ("device", "server", "any"):
        plan = partition(proto, "wifi", cut=["x"], output_on=output_on)
        assert plan.verify().ok
        with plan.session() as opened:
            assert np.array_equal(opened.run({"x": FLOATS})["x"], FLOATS)


def test_a_constant_output_is_in_every_plan(tmp_path):
    weights = {"w": np.array([1, -2], dtype=np.float32)}
    proto = model(
        [node("Tanh", "x", "t"), node("Relu", "t", "y"), node("Neg", "w", "c")],
        {"x": (1, 4)},
        [value("c", [2]), value("y", [1, 4])],
        weights,
    )
    for number, cut in enumerate((["x"], ["t"], ["y"])):
        plan = partition(proto, "wifi", granularity="node", cut=cut)
        plan.save(tmp_path / str(number))
        with load_plan(tmp_path / str(number)).session() as opened:
            assert opened.run({"x": FLOATS})["c"].tolist() == [-1, 2]
        assert plan.verify().ok


def test_a_tensor_that_is_cut_and_is_an_output_and_read_on_both_sides():
    proto = model(
        [node("Tanh", "x", "t"), node("Relu", "t", "y"), node("Neg", "t", "z")],
        {"x": (1, 4)},
        [value("z", [1, 4]), value("t", [1, 4]), value("y", [1, 4])],
    )
    plan = partition(proto, "wifi", granularity="node", cut=["t"])
    with plan.session() as opened:
        assert list(opened.run({"x": FLOATS})) == ["z", "t", "y"]
    assert plan.verify().bit_identical


@pytest.mark.parametrize("seed", range(scaled(15, 150)))
def test_random_models_in_the_stages_of_random_timings(seed, tmp_path):
    import graph_io

    proto = random_model(seed)
    graph = graph_io.load_graph(proto, granularity="node")
    generator = np.random.default_rng(seed)
    device, server = (
        timings_of(graph, {layer: float(generator.choice([1e-6, 1.0])) for layer in graph}) for _ in range(2)
    )
    plan = partition(graph, "10Gbps", rtt=0, device=device, server=server)
    plan.save(tmp_path / "out")
    feeds = {
        name: generator.standard_normal(graph.graph["tensors"][name].shape).astype(np.float32)
        for name in plan.model.input_names
    }
    with load_plan(tmp_path / "out").session(threads=1) as opened:
        outputs = opened.run(feeds)
    expected = whole_outputs(graph.graph["model"].proto, feeds)
    assert list(outputs) == list(expected)
    assert all(relative_error(outputs[name], expected[name]) <= 1e-5 for name in expected)


# --- verification -------------------------------------------------------------------------------------------------


def test_verification_of_inputs_given():
    plan = partition(relu_chain(), "wifi", cut=["t0"])
    one = plan.verify(inputs=[{"x": FLOATS}])
    assert (one.n_inputs, one.ok, one.depends_on_input) == (1, True, None)
    two = plan.verify(inputs=[{"x": FLOATS}, {"x": FLOATS * 2}])
    assert (two.n_inputs, two.ok, two.depends_on_input) == (2, True, True)
    with pytest.raises(InputError, match="verify got no inputs"):
        plan.verify(inputs=[])
    with pytest.raises(InputError, match="input 'x' has type float64"):
        plan.verify(inputs=[{"x": FLOATS.astype(np.float64)}])


def test_verification_says_when_it_proves_little():
    proto = model([node("Mul", "x zero", "y")], {"x": (1, 4)}, [value("y", [1, 4])], {"zero": np.zeros(1, np.float32)})
    verification = partition(proto, "wifi").verify()
    assert verification.ok
    assert not verification.depends_on_input
    assert "proves little" in str(verification)


# --- distance -----------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("result", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([1.5, -2.0], [1.0, -2.0], 0.25),  # relative to the largest value of all, not to its own
        ([1e-9, 1.0], [0.0, 1.0], 1e-9),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([-0.0], [0.0], 0.0),
        ([1e-30], [0.0], INF),  # nothing to be relative to
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 1.5], [NAN, 1.0], 0.5),
        ([NAN], [NAN], 0.0),
        ([1.0], [NAN], INF),
        ([NAN], [1.0], INF),
        ([INF, 1.0], [INF, 1.0], 0.0),
        ([INF, 1.5], [INF, 1.0], 0.5),
        ([-INF], [INF], INF),
        ([1.0], [INF], INF),
        ([INF], [1.0], INF),
        ([], [], 0.0),
    ],
)
def test_relative_error(result, reference, expected):
    for dtype in (np.float32, np.float64):
        got = relative_error(np.array(result, dtype=dtype), np.array(reference, dtype=dtype))
        assert got == pytest.approx(expected, rel=1e-6)


def test_relative_error_of_other_types():
    integers = np.array([1, 2, 3])
    assert relative_error(integers, integers.copy()) == 0
    assert relative_error(integers + 1, integers) == INF  # integers are equal or wrong
    assert relative_error(integers.astype(np.int32), integers) == INF
    assert relative_error(integers[:2], integers) == INF
    assert relative_error(integers[None], integers) == INF
    truths = np.array([True, False])
    assert relative_error(truths, truths.copy()) == 0
    assert relative_error(~truths, truths) == INF
    assert relative_error(np.array(["a"], object), np.array(["b"], object)) == INF
    assert relative_error(np.array(2.0), np.array(1.0)) == 1
    assert relative_error(np.array([3 + 4j]), np.array([3 - 4j])) == pytest.approx(8 / 5)


def test_relative_error_of_halves_does_not_overflow():
    half = np.array([60000, -60000], dtype=np.float16)
    assert relative_error(-half, half) == 2


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5),
    st.floats(0, 1e-3),
)
def test_relative_error_is_the_size_of_a_disturbance(values, size):
    reference = np.array(values)
    largest = np.max(np.abs(reference))
    disturbed = reference.copy()
    disturbed[0] += size * largest
    assert relative_error(disturbed, reference) == pytest.approx(size, abs=1e-9) or largest < 1e-3


# --- files of arrays -----------------------------------------------------------------------------------------------


def test_arrays_come_back_under_any_name(tmp_path):
    arrays = {name: FLOATS + number for number, name in enumerate(("y", "file", "allow_pickle", "a/b:0", "ü", "arr_0"))}
    write_outputs(tmp_path / "out.npz", arrays)
    loaded = read_inputs(tmp_path / "out.npz")
    assert list(loaded) == list(arrays)
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    assert entries(tmp_path) == ["out.npz"]
    (tmp_path / "usual").touch()
    assert (tmp_path / "out.npz").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_arrays_that_cannot_be_written(tmp_path):
    for path in (tmp_path / "no" / "out.npz", tmp_path):
        with pytest.raises(InputError, match=r"output file '.*' cannot be written"):
            write_outputs(path, {"y": FLOATS})
    assert entries(tmp_path) == []


def test_damaged_array_files_are_refused_not_crashed_on(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", x=np.random.default_rng(0).standard_normal(50))
    good = (tmp_path / "good.npz").read_bytes()
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(scaled(300, 3000)):
        damaged = bytearray(good)
        for place in generator.integers(len(good), size=2):
            damaged[place] = generator.integers(256)
        (tmp_path / "bad.npz").write_bytes(damaged[: generator.integers(len(good) // 2, len(good) + 1)])
        try:
            read_inputs(tmp_path / "bad.npz")
        except InputError:
            refused += 1
    assert refused > 100


def test_a_single_array_and_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", FLOATS)
    with pytest.raises(InputError, match=r"one\.npy' holds a single array"):
        read_inputs(tmp_path / "one.npy")
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"objects\.npz' is not an \.npz file of plain arrays"):
        read_inputs(tmp_path / "objects.npz")


def test_default_inputs_are_seeded():
    plan = partition(relu_chain(), "wifi")
    first, second = default_inputs(plan), default_inputs(plan)
    assert np.array_equal(first["x"], second["x"])
    assert first["x"].dtype == np.float32
