"""Ill-formed and infeasible problems: each message names what is wrong with which layer or tensor."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from solvers import (
    Distribution,
    InfeasibleError,
    MethodError,
    Problem,
    ProblemError,
    SolverError,
    breakdown,
    evaluate,
    k_best,
    pareto_front,
    solve,
    stages,
    within_deadline,
    within_memory,
)
from tests.strategies import INF

NAMES = {"layer_names": ("image", "conv", "sum"), "tensor_names": ("x", "y")}
GOOD = [(0, 1.0, [1, 2]), (1, 2.0, [2])]


def build(compute=((0, INF), (2, 1), (1, 1)), tensors=GOOD, **others):
    return Problem.build([list(row) for row in compute], tensors, **{**NAMES, **others})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"compute": [(0, 1), (float("nan"), 1), (1, 1)]}, "layer 'conv' costs nan on machine 0; give a finite"),
        ({"compute": [(0, 1), (1, -INF), (1, 1)]}, "layer 'conv' costs -inf on machine 1"),
        ({"tensors": [(0, -1.0, [1]), (1, 2.0, [2])]}, "tensor 'x' has -1.0 bytes; give a finite number >= 0"),
        ({"tensors": [(0, 1.0, [1]), (1, INF, [2])]}, "tensor 'y' has inf bytes"),
        ({"tensors": [(0, 1.0, [1]), (7, 2.0, [2])]}, "tensor 'y' is produced by layer 7; layers are 0 to 2"),
        ({"tensors": [(0, 1.0, [1]), (1, 2.0, [-1])]}, "tensor 'y' is consumed by layer -1; layers are 0 to 2"),
        ({"tensors": [(0, 1.0, [1]), (1, 2.0, [1])]}, "tensor 'y' is consumed by its own producer, layer 'conv'"),
        ({"tensors": [(0, 1.0, [1, 2, 1]), (1, 2.0, [2])]}, "tensor 'x' lists layer 'conv' twice"),
        ({"tensors": [(1, 1.0, [2]), (2, 2.0, [1])]}, r"layer '(conv|sum)' depends on its own output"),
        ({"tensors": [(0, 1.0, [1.5]), (1, 2.0, [2])]}, "consumer_layers has type float64; give whole numbers"),
        ({"per_byte": [[0, -1], [0, 0]]}, "per_byte from machine 0 to machine 1 is -1.0; give a finite number >= 0"),
        ({"per_tensor": [[0, 1], [INF, 0]]}, "per_tensor from machine 1 to machine 0 is inf"),
        ({"delay": [[0, 1], [1, 2]]}, "delay from machine 1 to machine 1 is 2.0; a machine sends itself nothing"),
        ({"delay": [[0, 1, 2]]}, r"delay has shape \(1, 3\); with 2 machines give \(2, 2\)"),
        ({"delay": [["a", "b"]]}, "delay is not an array of numbers"),
        ({"layer_names": ("a",)}, "layer_names has 1 names; give 3 or none"),
        ({"tensor_names": ("a",)}, "tensor_names has 1 names; give 2 or none"),
        ({"max_server_visits": -1}, "max_server_visits is -1; give a whole number >= 0, or None"),
        ({"max_server_visits": 1.5}, "max_server_visits is 1.5"),
        ({"compute": [(1e308, 1), (1e308, 1), (1, 1)]}, "the costs add up to more than float64 holds"),
    ],
)
def test_an_ill_formed_problem_is_named(arguments, message):
    with pytest.raises(ProblemError, match=message):
        build(**arguments)


def test_shapes():
    with pytest.raises(ProblemError, match=r"compute has shape \(3, 0\); give \(n_layers, n_machines\)"):
        Problem.build(np.zeros((3, 0)), [])
    with pytest.raises(ProblemError, match=r"compute has shape \(2,\)"):
        Problem.build([1.0, 2.0], [])
    none = np.zeros((2, 2))
    good = [np.ones((2, 2)), [0], [1.0], [0, 1], [1], none, none, none]
    assert Problem(*good).n_tensors == 1
    for place, value, message in [
        (1, [[0]], "one dimension"),
        (2, [1.0, 2.0], "tensor_size_bytes has shape"),
        (3, [0], "consumer_offsets has shape"),
        (3, [0, 2], "consumer_offsets must rise from 0 to 1"),
    ]:
        with pytest.raises(ProblemError, match=message):
            Problem(*good[:place], value, *good[place + 1 :])


def test_a_problem_cannot_be_changed():
    compute = np.array([[0.0, 1.0], [2.0, 3.0]])
    problem = Problem.build(compute, [(0, 1.0, [1])])
    compute[0, 0] = 9
    assert problem.compute[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        problem.compute[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        problem.max_server_visits = 3
    solution = solve(problem)
    with pytest.raises(ValueError, match="read-only"):
        solution.placement[0] = 1
    assert repr(problem) == "Problem(2 layers, 1 tensors, 2 machines)"


def test_a_layer_allowed_nowhere_is_named():
    with pytest.raises(InfeasibleError, match="layer 'conv' is allowed on no machine"):
        build(compute=[(0, INF), (INF, INF), (1, 1)])


def test_too_many_visits_are_infeasible():
    """Pins that go to the server twice, in a chain and beside a second path."""
    pins = [[0, INF], [INF, 1], [1, INF], [INF, 1], [1, INF]]
    chain = [(v, 1.0, [v + 1]) for v in range(4)]
    for tensors, methods in (
        (chain, ("auto", "chain", "dp", "min-cut")),
        ([*chain, (0, 1.0, [2, 4])], ("dp", "min-cut")),
    ):
        for method in methods:
            with pytest.raises(InfeasibleError, match="max_server_visits=1; allow more visits"):
                solve(Problem.build(pins, tensors), method)
            assert solve(Problem.build(pins, tensors, max_server_visits=2), method).optimal


def test_no_visit_at_all():
    assert solve(build(compute=[(0, INF), (9, 0), (9, 0)], max_server_visits=0)).placement.tolist() == [0, 0, 0]
    for method in ("auto", "dp", "min-cut"):
        with pytest.raises(InfeasibleError, match="max_server_visits=0"):
            solve(build(compute=[(0, INF), (INF, 0), (9, 0)], max_server_visits=0), method)


def test_methods_refuse_by_name():
    with pytest.raises(MethodError, match="there is no method 'cut'; choose from auto, chain, dp, min-cut, milp"):
        solve(build(), "cut")
    with pytest.raises(ProblemError, match=r"max_server_visits is 1, .* with 3 machines give None"):
        Problem.build(np.ones((2, 3)), [(0, 1.0, [1])])
    three = Problem.build(np.ones((2, 3)), [(0, 1.0, [1])], max_server_visits=None)
    for method in ("chain", "min-cut"):
        with pytest.raises(MethodError, match="takes 2 machines, the problem has 3"):
            solve(three, method)
    assert evaluate(three, [0, 1]) == 2
    with pytest.raises(MethodError, match="defined for 2 machines"):
        stages(three, [0, 1])
    assert evaluate(Problem.build([[1.0], [2.0]], [(0, 1.0, [1])]), [0, 0]) == 3


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ([0, 1], r"the placement has shape \(2,\); give \(3,\)"),
        ([0, 0.5, 1], "the placement has type float64; give machine numbers"),
        ([0, 2, 1], "layer 'conv' is placed on machine 2; machines are 0 to 1"),
    ],
)
def test_a_wrong_placement_is_named(placement, message):
    for function in (evaluate, breakdown, stages):
        with pytest.raises(ProblemError, match=message):
            function(build(), placement)


def test_a_forbidden_placement_costs_inf():
    parts = breakdown(build(), [1, 1, 1])
    assert parts.value == evaluate(build(), [1, 1, 1]) == INF
    assert parts.compute.tolist() == [0, INF]
    assert repr(parts) == "Breakdown(value=inf, 0 tensors in 1 messages)"


def test_the_tree_of_errors():
    for error in (ProblemError, InfeasibleError, MethodError):
        assert issubclass(error, SolverError)
    assert issubclass(SolverError, ValueError)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Problem.build([[0, 1], [1]], []), "compute is not an array of numbers"),
        (lambda: Problem.build([["1", "2"]], []), "it holds texts"),
        (lambda: Problem.build([[1j, 1]], []), "compute is not an array of numbers"),
        (lambda: Problem.build([[1, 1]], [(0, 1.0)]), "producer, size_bytes, consumers"),
        (lambda: Problem.build([[1, 1]], [(0, 1.0, 1)]), "the list of consumers of tensor 0 is 1; give a list"),
        (lambda: Problem.build([[1, 1]], None), "tensors is None; give a list"),
        (lambda: Problem.build([[1, 1]], [(0, "x", [])]), "tensor_size_bytes is not an array of numbers"),
        (lambda: Problem.build([[1, 1]], [], colocated=[1, 2]), "a group of colocated is 1; give a list"),
        (lambda: Problem.build([[1, 1]], [], layer_names=3), "layer_names is 3"),
        (lambda: evaluate(Problem.build([[1, 1]] * 2, []), [[0, 0], [0]]), "not an array of machines"),
        (lambda: solve(Problem.build([[1, 1]], []), "min-cut", node_limit=-1), "node_limit is -1"),
        (lambda: solve(Problem.build([[1, 1]], []), "min-cut", time_limit_s=float("nan")), "time_limit_s is nan"),
        (lambda: k_best(Problem.build([[1, 1]], []), 2, distinct_on=5), "distinct_on is 5"),
        (lambda: within_deadline(*[Problem.build([[1, 1]], [])] * 2, "10ms"), "deadline_s is '10ms'"),
        (lambda: within_memory(Problem.build([[1, 1]], []), [1], [1, 1], label_limit=-1), "label_limit is -1"),
        (lambda: pareto_front(*[Problem.build([[1, 1]], [])] * 2, epsilon="x"), "epsilon is 'x'"),
        (lambda: Distribution(np.array([1.0, 2.0]), np.array([0.3, 0.3])), "with the sum 1, not 0.6"),
    ],
)
def test_what_is_no_number_or_no_layer_is_named(wrong, words):
    with pytest.raises(ProblemError, match=words):
        wrong()
