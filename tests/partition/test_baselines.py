"""The published regressions: their variables by hand, their fits on rows whose law is known, and what they refuse."""

import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from partition.errors import InputError
from partition.latency.baseline_variables import EDGENT, NEUROSURGEON, WANG, WANG_DYNAMIC
from partition.latency.baselines import BASELINES
from partition.latency.goodness import r_squared

NEVER_KNOWN = ("matmul", "elementwise", "reduce", "concat", "gather", "transpose", "gru", "view", "other:Thing")
STATIC = [name for name in BASELINES if not name.endswith("-dynamic")]
DYNAMIC = [name for name in BASELINES if name.endswith("-dynamic")]


@dataclass(frozen=True)
class Features:
    kind: str
    op_type: str
    values: dict = field(hash=False)


@dataclass(frozen=True)
class Row:
    features: Features
    threads: int
    seconds: float
    dynamic: dict = field(hash=False, default_factory=dict)


def sizes(inputs, outputs, **more):
    return {
        "flops": float(inputs),
        "read_bytes": 4.0 * inputs,
        "write_bytes": 4.0 * outputs,
        "weight_bytes": 0.0,
        "input_elements": float(inputs),
        "output_elements": float(outputs),
        **{name: float(value) for name, value in more.items()},
    }


def conv(
    channels=3, size=8, filters=16, *, kernel=(3, 3), stride=(1, 1), pad=2, activation=1, bias=1, kind="conv", fused=0
):
    out = size // stride[0]
    return Features(
        kind,
        "Conv",
        sizes(
            channels * size * size + fused * filters * out * out,
            filters * out * out,
            batch=1,
            in_channels=channels,
            out_channels=filters,
            in_height=size,
            in_width=size,
            out_height=out,
            out_width=out,
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride_height=stride[0],
            stride_width=stride[1],
            pad=pad,
            dilation=1,
            groups=1,
            activation=activation,
            bias=bias,
            sum=fused,
        ),
    )


def gemm(m=1, k=10, n=4, *, activation=0, bias=1):
    more = {"batch": 1, "m": m, "k": k, "n": n, "activation": activation, "bias": bias}
    return Features("gemm", "Gemm", sizes(m * k, m * n, **more))


def pool(channels=4, size=8, *, kind="max_pool"):
    half = size // 2
    return Features(
        kind,
        "MaxPool",
        sizes(
            channels * size * size,
            channels * half * half,
            batch=1,
            channels=channels,
            kernel_height=2,
            kernel_width=2,
            stride_height=2,
            stride_width=2,
            pad=0,
            in_height=size,
            in_width=size,
            out_height=half,
            out_width=half,
        ),
    )


def plain(kind, rows=4, row_length=25, *, op_type="Any"):
    return Features(kind, op_type, sizes(rows * row_length, rows * row_length, rows=rows, row_length=row_length))


def recurrent(kind="lstm", seq=5, batch=1, inputs=7, hidden=11, directions=2):
    more = {"seq": seq, "batch": batch, "input_size": inputs, "hidden_size": hidden, "directions": directions}
    return Features(kind, kind.upper(), sizes(seq * batch * inputs, seq * batch * hidden * directions, **more))


def state(generator):
    cpu, system, memory = (float(one) for one in generator.uniform(0.0, 1.0, 3))
    shares = {"system_cpu_share": system, "cpu_utilisation": cpu, "memory_usage": memory}
    return {**shares, "free_memory_bytes": float(generator.uniform(1e9, 8e9))}


def some_convs(count, seed=0):
    generator = np.random.default_rng(seed)
    return [
        conv(
            int(generator.integers(1, 64)),
            int(generator.integers(4, 64)),
            int(generator.integers(1, 64)),
            kernel=(int(generator.integers(1, 6)),) * 2,
            stride=(int(generator.integers(1, 3)),) * 2,
            pad=int(generator.integers(0, 4)),
            activation=int(generator.integers(0, 2)),
            bias=int(generator.integers(0, 2)),
        )
        for _ in range(count)
    ]


def variables(table, features):
    layer_type = table[features.kind]
    return dict(zip(layer_type.variables, layer_type.values_of(features), strict=True))


def rows_by(law, kernels, *, threads=1):
    return [Row(one, threads, law(one)) for one in kernels]


def mixed_rows(*, threads=(1,), seed=3):
    """Return positive times of many kinds, with the state of the machine, and no law behind them."""
    generator = np.random.default_rng(seed)
    kernels = [*some_convs(20, seed), *(gemm(int(m), int(k), int(n)) for m, k, n in generator.integers(1, 99, (12, 3)))]
    kernels += [pool(int(c), 2 * int(s)) for c, s in generator.integers(1, 30, (12, 2))]
    for kind in ("softmax", "argmax", "activation", "transcendental", "batch_norm", "layer_norm", "elementwise"):
        kernels += [plain(kind, int(r), int(n)) for r, n in generator.integers(1, 200, (5, 2))]
    kernels += [recurrent(seq=int(s), hidden=int(h)) for s, h in generator.integers(1, 60, (6, 2))]
    times = generator.uniform(1e-6, 1e-2, (len(threads), len(kernels)))
    return [
        Row(one, count, float(times[place, number]), state(generator))
        for place, count in enumerate(threads)
        for number, one in enumerate(kernels)
    ]


def test_names():
    assert list(BASELINES) == [
        *("neurosurgeon-linear", "neurosurgeon-logarithmic", "neurosurgeon", "edgent"),
        *("wang-linear", "wang-logarithmic", "wang-polynomial"),
        *("wang-linear-dynamic", "wang-logarithmic-dynamic", "wang-polynomial-dynamic"),
    ]
    rows = mixed_rows()
    for name, fit in BASELINES.items():
        regression = fit(rows)
        assert regression.name == name
        assert name in repr(regression)
        assert "\n" not in repr(regression)


def test_variables_of_a_convolution_by_hand():
    kernel = conv(3, 8, 16, kernel=(3, 5), stride=(2, 1), pad=2, fused=1)
    assert list(variables(NEUROSURGEON, kernel).values()) == [3 * 8 * 8, 3 * 5 / 2 * 16]
    assert list(variables(EDGENT, kernel).values()) == [3, 120]
    assert list(variables(WANG, kernel).values()) == [1, 3, 8, 8, 16, 3, 5, 2, 1, 2, 1, 1, 192, 120]
    for kind in ("depthwise_conv", "grouped_conv"):
        assert NEUROSURGEON[kind] is NEUROSURGEON["conv"]
    assert "conv_transpose" not in NEUROSURGEON
    assert variables(WANG, replace(kernel, kind="conv_transpose")) == variables(WANG, kernel)
    assert WANG["conv_transpose"] is not WANG["conv"]


def test_variables_of_other_layer_types_by_hand():
    assert list(variables(NEUROSURGEON, gemm(3, 10, 4)).values()) == [30, 12]
    assert list(variables(EDGENT, gemm(3, 10, 4)).values()) == [30, 12]
    assert list(variables(WANG, gemm(3, 10, 4, activation=1, bias=0)).values()) == [3, 10, 4, 1, 0]
    assert list(variables(NEUROSURGEON, pool(4, 8)).values()) == [256, 64]
    wang_pool = [1, 4, 8, 8, 4, 4, 2, 2, 2, 2, 0, 0, 256, 64]
    assert list(variables(WANG, pool(4, 8)).values()) == wang_pool
    assert variables(WANG, pool(4, 8, kind="average_pool"))["average"] == 1
    everything = Features("global_pool", "GlobalAveragePool", sizes(256, 4, channels=4))
    assert list(variables(NEUROSURGEON, everything).values()) == [256, 4]
    assert list(variables(WANG, everything).values()) == [256, 4]
    assert list(variables(NEUROSURGEON, plain("softmax")).values()) == [100, 100]
    assert list(variables(EDGENT, plain("softmax")).values()) == [100]
    for kind in ("batch_norm", "layer_norm", "instance_norm", "lrn"):
        assert list(variables(NEUROSURGEON, plain(kind)).values()) == [100]
        assert list(variables(EDGENT, plain(kind)).values()) == [100]
        assert (kind in WANG) == (kind == "batch_norm")
    assert list(variables(WANG, plain("activation")).values()) == [100, 0]
    assert list(variables(WANG, plain("transcendental")).values()) == [100, 1]
    assert "transcendental" in NEUROSURGEON
    assert "transcendental" not in EDGENT
    assert "argmax" in NEUROSURGEON
    assert "argmax" not in EDGENT
    assert list(variables(WANG, recurrent()).values()) == [5, 1, 7, 22]
    assert WANG["rnn"] is not WANG["lstm"]
    assert not {*NEVER_KNOWN} & {*NEUROSURGEON, *EDGENT, *WANG}


@pytest.mark.parametrize(
    ("name", "table"), [("neurosurgeon-linear", NEUROSURGEON), ("edgent", EDGENT), ("wang-linear", WANG)]
)
def test_linear_recovers_a_linear_law(name, table):
    def law(kernel):
        x = table[kernel.kind].values_of(kernel)
        return 5e-6 + float(np.dot(np.arange(1, len(x) + 1) * 1e-7, x))

    regression = BASELINES[name](rows_by(law, some_convs(60)))
    others = some_convs(20, seed=1)
    np.testing.assert_allclose(regression.predict_s(others, threads=1), [law(one) for one in others], rtol=1e-9)


def test_coefficients_by_hand():
    rows = [Row(plain("activation", 1, n), 1, seconds) for n, seconds in ((10, 12e-6), (20, 22e-6), (30, 32e-6))]
    for name in ("neurosurgeon-linear", "neurosurgeon", "edgent", "wang-linear", "wang-polynomial"):
        # The line is 2 us + 1 us for each neuron; a parabola through it is the line.
        seconds = BASELINES[name](rows).predict_s([plain("activation", 1, n) for n in (0, 100)], threads=1)
        np.testing.assert_allclose(seconds, [2e-6, 102e-6], rtol=1e-9)


def test_least_squares_are_not_relative():
    # By hand: x = 0, 1, 2 and t = 1, 1, 4 give the slope 3/2 and the value 2 at the mean.
    rows = [Row(plain("activation", 1, n), 1, seconds) for n, seconds in ((0, 1.0), (1, 1.0), (2, 4.0))]
    seconds = BASELINES["edgent"](rows).predict_s([plain("activation", 1, n) for n in (0, 1, 2)], threads=1)
    np.testing.assert_allclose(seconds, [0.5, 2.0, 3.5], rtol=1e-12)


def test_logarithm_of_the_variables():
    def law(kernel):
        maps, work = NEUROSURGEON["conv"].values_of(kernel)
        return 1e-3 + 2e-4 * np.log1p(maps) + 3e-4 * np.log1p(work)

    others = some_convs(20, seed=1)
    expected = [law(one) for one in others]
    rows = rows_by(law, some_convs(40))
    for name in ("neurosurgeon-logarithmic", "neurosurgeon"):
        np.testing.assert_allclose(BASELINES[name](rows).predict_s(others, threads=1), expected, rtol=1e-9)


def test_logarithm_of_the_time():
    def law(kernel):
        neurons, transcendental = WANG["activation"].values_of(kernel)
        return float(np.exp(-12.0 + 0.01 * neurons + 0.7 * transcendental))

    kernels = [plain(kind, 1, n) for kind in ("activation", "transcendental") for n in (1, 50, 200, 400)]
    regression = BASELINES["wang-logarithmic"](rows_by(law, kernels))
    seconds = regression.predict_s([plain("transcendental", 1, 300), plain("activation", 10**4, 10**4)], threads=1)
    np.testing.assert_allclose(seconds[0], law(plain("transcendental", 1, 300)), rtol=1e-9)
    assert seconds[1] == np.inf


def test_polynomial_recovers_a_product():
    def law(kernel):
        rows, inputs, outputs, activation, bias = WANG["gemm"].values_of(kernel)
        return 1e-5 + 1e-9 * inputs * outputs + 1e-8 * rows * outputs + 1e-10 * inputs**2 + 1e-6 * activation * bias

    def kernels(count, seed):
        generator = np.random.default_rng(seed)
        numbers = generator.integers(1, 300, (count, 3))
        flags = generator.integers(0, 2, (count, 2))
        return [
            gemm(int(m), int(k), int(n), activation=int(a), bias=int(b))
            for (m, k, n), (a, b) in zip(numbers, flags, strict=True)
        ]

    regression = BASELINES["wang-polynomial"](rows_by(law, kernels(200, 0)))
    others = kernels(30, 1)
    np.testing.assert_allclose(regression.predict_s(others, threads=1), [law(one) for one in others], rtol=1e-8)


def test_square_of_a_balanced_flag_is_no_variable():
    # Scaled, a flag that is 1 in half of the rows has the square 1 everywhere, up to rounding.
    rows = [
        Row(plain(kind, 1, n), 1, 1e-6 * n * (1 + (kind == "transcendental")))
        for kind in ("activation", "transcendental")
        for n in (3, 7, 11)
    ]
    others = [plain("transcendental", 1, 9), plain("activation", 1, 9)]
    seconds = BASELINES["wang-polynomial"](rows).predict_s(others, threads=1)
    np.testing.assert_allclose(seconds, [18e-6, 9e-6], rtol=1e-9)


def test_state_of_the_machine_counts_where_it_should():
    generator = np.random.default_rng(5)
    states = [state(generator) for _ in range(80)]

    def law(n, at):
        return 1e-6 * (n * (1 + at["cpu_utilisation"]) + 3 * at["memory_usage"])

    rows = [Row(plain("softmax", 1, 5 + i), 1, law(5 + i, one), one) for i, one in enumerate(states)]
    at = state(generator)
    regression = BASELINES["wang-polynomial-dynamic"](rows)
    kernel = plain("softmax", 1, 30)
    np.testing.assert_allclose(regression.predict_s([kernel], threads=1, dynamic=at), [law(30, at)], rtol=1e-6)
    without = BASELINES["wang-polynomial"](rows)
    np.testing.assert_array_equal(
        without.predict_s([kernel], threads=1), without.predict_s([kernel], threads=1, dynamic=at)
    )
    measured = [row.seconds for row in rows]
    fitted = [regression.predict_s([row.features], threads=1, dynamic=row.dynamic)[0] for row in rows]
    assert r_squared(measured, fitted) > r_squared(measured, without.predict_s([r.features for r in rows], threads=1))


def test_neurosurgeon_takes_the_better_form_for_each_layer_type():
    rows = [Row(plain("softmax", 1, n), 1, 1e-6 * n) for n in (1, 10, 100, 1000)]
    rows += [Row(plain("argmax", 1, n), 1, 1e-6 * np.log1p(n)) for n in (1, 10, 100, 1000)]
    rows += [Row(plain("activation", 1, 10), 1, 1e-6)]
    regression = BASELINES["neurosurgeon"](rows)
    assert regression.forms == {
        1: {"softmax": "linear", "argmax": "logarithm of the variables", "activation": "linear"},
    }
    for name, kind in (("neurosurgeon-linear", "softmax"), ("neurosurgeon-logarithmic", "argmax")):
        kernels = [plain(kind, 1, 77)]
        np.testing.assert_array_equal(
            regression.predict_s(kernels, threads=1), BASELINES[name](rows).predict_s(kernels, threads=1)
        )


@pytest.mark.parametrize("name", BASELINES)
def test_unknown_is_nan_and_never_zero(name):
    rows = mixed_rows()
    regression = BASELINES[name](rows)
    at = rows[0].dynamic
    unknown = [plain(kind) for kind in (*NEVER_KNOWN, "lrn:float16")]
    assert np.isnan(regression.predict_s(unknown, threads=1, dynamic=at)).all()
    between = regression.predict_s([conv(), *unknown[:2], gemm()], threads=1, dynamic=at)
    assert np.isnan(between).tolist() == [False, True, True, False]
    # Known to all three, but without a row.
    only_gemm = BASELINES[name]([row for row in rows if row.features.kind == "gemm"])
    assert np.isnan(only_gemm.predict_s([conv(), gemm()], threads=1, dynamic=at)).tolist() == [True, False]
    # Rows of unknown kinds alone are rows, but of nothing.
    nothing = BASELINES[name]([row for row in rows if row.features.kind == "elementwise"])
    assert np.isnan(nothing.predict_s([conv(), plain("elementwise")], threads=1, dynamic=at)).all()
    assert "no layer type" in repr(nothing)
    assert regression.predict_s([], threads=1, dynamic=at).shape == (0,)


@pytest.mark.parametrize("name", BASELINES)
def test_only_the_rows_of_the_asked_threads_count(name):
    rows = mixed_rows(threads=(1, 4))
    both, at = BASELINES[name](rows), rows[0].dynamic
    kernels = [row.features for row in rows[:30]]
    for threads in (1, 4):
        alone = BASELINES[name]([row for row in rows if row.threads == threads])
        np.testing.assert_array_equal(
            both.predict_s(kernels, threads=threads, dynamic=at), alone.predict_s(kernels, threads=threads, dynamic=at)
        )
    with pytest.raises(InputError, match=rf"'{name}' has no row measured on threads=2, only on 1, 4; calibrate"):
        both.predict_s(kernels, threads=2, dynamic=at)


@pytest.mark.parametrize("name", BASELINES)
def test_same_rows_same_answer(name):
    rows = mixed_rows()
    kernels, at = [row.features for row in rows], rows[0].dynamic
    first = BASELINES[name](rows).predict_s(kernels, threads=1, dynamic=at)
    np.testing.assert_array_equal(first, BASELINES[name](rows).predict_s(kernels, threads=1, dynamic=at))
    # In another company a kernel gets the same answer up to rounding.
    apart = [BASELINES[name](rows).predict_s([one], threads=1, dynamic=at)[0] for one in kernels[::7]]
    np.testing.assert_allclose(apart, first[::7], rtol=1e-9)


@pytest.mark.parametrize("name", BASELINES)
def test_one_row_predicts_itself(name):
    rows = [replace(row, seconds=3e-4) for row in mixed_rows() if row.features.kind == "gemm"][:1]
    regression = BASELINES[name](rows)
    seconds = regression.predict_s([gemm(), gemm(7, 300, 20)], threads=1, dynamic=rows[0].dynamic)
    np.testing.assert_allclose(seconds, 3e-4, rtol=1e-12)


@pytest.mark.parametrize("name", STATIC)
def test_constant_and_collinear_columns(name):
    # Inputs and outputs are equal, all else is constant: one number decides.
    rows = [Row(plain("softmax", 1, n), 1, 1e-6 * n) for n in (100, 101, 102, 103)]
    seconds = BASELINES[name](rows).predict_s([plain("softmax", 1, 104)], threads=1)
    np.testing.assert_allclose(seconds, 104e-6, rtol=0.01)
    # Fewer rows than coefficients: the rows themselves are met where a polynomial has that freedom.
    few = rows_by(lambda kernel: 1e-9 * kernel.values["flops"], some_convs(5))
    seconds = BASELINES[name](few).predict_s([row.features for row in few], threads=1)
    assert np.isfinite(seconds).all()
    if name == "wang-polynomial":
        np.testing.assert_allclose(seconds, [row.seconds for row in few], rtol=1e-9)


def test_negative_prediction_is_returned_as_it_is():
    rows = [Row(plain("softmax", 1, n), 1, 1e-6 * (n - 90)) for n in (100, 150, 200)]
    for name in ("neurosurgeon-linear", "edgent", "wang-linear"):
        seconds = BASELINES[name](rows).predict_s([plain("softmax", 1, 10)], threads=1)
        np.testing.assert_allclose(seconds, [-80e-6], rtol=1e-9)


@pytest.mark.parametrize("name", BASELINES)
def test_bad_rows_are_refused(name):
    fit, rows = BASELINES[name], mixed_rows()
    with pytest.raises(InputError, match=f"'{name}' needs measured rows and got none"):
        fit([])
    for seconds in (0.0, -1e-6, np.nan, np.inf):
        with pytest.raises(InputError, match=r"row 1 \(Conv\): seconds is .* above 0"):
            fit([rows[0], replace(rows[1], seconds=seconds)])
    missing = {key: value for key, value in rows[0].features.values.items() if key != "in_channels"}
    with pytest.raises(InputError, match=r"'conv' \(Conv\) has no feature 'in_channels', .* it has: activation, "):
        fit([replace(rows[0], features=Features("conv", "Conv", missing))])
    for value in (np.nan, -1.0):
        wrong = {**rows[0].features.values, "in_channels": value}
        with pytest.raises(InputError, match=r"in_channels = .*, expected a finite number, 0 or more"):
            fit(rows).predict_s([Features("conv", "Conv", wrong)], threads=1, dynamic=rows[0].dynamic)
    stuck = {**rows[0].features.values, "stride_height": 0.0}
    with pytest.raises(InputError, match="has a stride of 0 or less"):
        fit([replace(rows[0], features=Features("conv", "Conv", stuck))])


@pytest.mark.parametrize("name", DYNAMIC)
def test_missing_and_impossible_states_are_refused(name):
    fit, rows = BASELINES[name], mixed_rows()
    with pytest.raises(InputError, match="row 0 lacks the dynamic feature 'system_cpu_share'"):
        fit([replace(rows[0], dynamic={})])
    regression = fit(rows)
    with pytest.raises(InputError, match=f"'{name}' predicts for a state of the machine and got none; pass dynamic="):
        regression.predict_s([conv()], threads=1)
    for feature in WANG_DYNAMIC:
        rest = {key: value for key, value in rows[0].dynamic.items() if key != feature}
        with pytest.raises(InputError, match=f"the state of the machine lacks the dynamic feature '{feature}'"):
            regression.predict_s([conv()], threads=1, dynamic=rest)
    with pytest.raises(InputError, match=r"cpu_utilisation is 50.0, expected a share from 0 to 1, not a percentage"):
        regression.predict_s([conv()], threads=1, dynamic={**rows[0].dynamic, "cpu_utilisation": 50.0})
    with pytest.raises(InputError, match=r"free_memory_bytes is -1.0, expected a finite number, 0 or more"):
        regression.predict_s([conv()], threads=1, dynamic={**rows[0].dynamic, "free_memory_bytes": -1.0})


def test_import_is_light():
    code = "import sys; import partition.latency.baselines, partition.latency.goodness; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*done.stdout.split()} & {"scipy", "numba", "onnxruntime"}
