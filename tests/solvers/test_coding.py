"""What sender and receiver pay for a crossing: charged once each, equal to what links would charge, refused by name."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from solvers import (
    InfeasibleError,
    MethodError,
    Power,
    Problem,
    ProblemError,
    analyse,
    breakdown,
    breakpoints,
    energy_problem,
    evaluate,
    k_best,
    load_family,
    pipeline_throughput,
    relay_links,
    solve,
    solve_batch,
    solve_tiers,
    weighted,
    within_memory,
)
from solvers.milp import pipeline_totals
from solvers.pipeline import resource_totals
from solvers.tiers import relay_value
from tests import naive, naive_sweeps
from tests.scale import scaled
from tests.strategies import INF, random_network, random_problem

ENCODE, DECODE = [[1, 2], [4, 8]], [[16, 32], [64, 128]]
TENSORS = [(0, 3.0, [1, 2]), (1, 1.0, [2])]


def two(compute=((0, 0), (0, 0), (0, 0)), **others):
    given = {"encode": ENCODE, "decode": DECODE, "max_server_visits": None, **others}
    return Problem.build([list(row) for row in compute], TENSORS, **given)


def test_each_crossing_is_charged_to_its_sender_and_its_receiver_once():
    problem = two(per_byte=[[0, 0.125], [0.25, 0]])
    assert evaluate(problem, [0, 1, 1]) == 1 + 32 + 0.375  # two consumers on the server: one crossing
    assert evaluate(problem, [1, 0, 0]) == 2 + 16 + 0.75
    assert evaluate(problem, [0, 1, 0]) == 1 + 32 + 0.375 + 8 + 64 + 0.25
    assert evaluate(problem, [0, 0, 0]) == evaluate(problem, [1, 1, 1]) == 0
    parts = breakdown(problem, [0, 1, 0])
    assert (parts.encode.tolist(), parts.decode.tolist()) == ([1, 8], [64, 32])
    assert parts.transfer.tolist() == [[0, 0.375], [0.25, 0]]
    assert parts.value == evaluate(problem, [0, 1, 0])
    assert problem.transfer_costs(0, 1).tolist() == [33.375, 132.125]
    assert problem.transfer_costs(1, 1).tolist() == [0, 0]


def test_with_more_machines_each_receiver_has_it_encoded_anew():
    problem = Problem.build(
        np.zeros((3, 3)), [(0, 1.0, [1, 2])], encode=[[5, 0, 0]], decode=[[0, 1, 2]], max_server_visits=None
    )
    assert evaluate(problem, [0, 1, 2]) == 5 + 1 + 5 + 2
    assert breakdown(problem, [0, 1, 2]).encode.tolist() == [10, 0, 0]


def test_a_problem_without_stores_nothing():
    plain = two(encode=None, decode=None)
    assert plain.encode.tolist() == plain.decode.tolist() == [[0, 0], [0, 0]]
    assert plain.encode.strides == (0, 0)
    assert plain.crossing_work.size == plain.dearest_coding() == 0
    assert two(encode=np.zeros((2, 2)), decode=None).crossing_work.size == 0
    assert plain.with_costs(decode=DECODE).crossing_work.reshape(2, 2, 2)[:, 0, 1].tolist() == [32, 128]
    with pytest.raises(ValueError, match="read-only"):
        plain.encode[0, 0] = 1
    links = dict.fromkeys(("per_tensor", "per_byte", "delay"), np.zeros((3, 3)))
    wider = replace(plain, compute=np.zeros((3, 3)), **links)
    assert wider.encode.shape == (2, 3)
    for problem in (plain, two()):
        copied = deepcopy(problem)
        assert evaluate(copied, [0, 1, 0]) == evaluate(problem, [0, 1, 0])


def test_other_costs_keep_it():
    problem = two()
    assert problem.with_costs(compute=np.ones((3, 2))).crossing_work is problem.crossing_work
    assert problem.with_costs(encode=np.zeros((2, 2))).decode.tolist() == DECODE
    assert problem.without_transfers(problem.compute).crossing_work.size == 0
    wide = Problem.build(
        [[0, INF, 0]] * 3,
        TENSORS,
        encode=[[1, 9, 2], [4, 9, 8]],
        decode=[[16, 9, 32], [64, 9, 128]],
        max_server_visits=None,
    )
    narrow, kept = wide.narrowed()
    assert (narrow.encode.tolist(), narrow.decode.tolist(), kept.tolist()) == (ENCODE, DECODE, [0, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encode": [[0, 1], [INF, 0]]}, "encode of tensor 'y' on machine 0 is inf; give a finite number >= 0"),
        ({"decode": [[0, -1], [0, 0]]}, "decode of tensor 'x' on machine 1 is -1.0; give a finite number >= 0"),
        ({"decode": [[0, 1], [0, float("nan")]]}, "decode of tensor 'y' on machine 1 is nan"),
        ({"encode": [[0, 1]]}, r"encode has shape \(1, 2\); give \(2, 2\), a row per tensor, a column per machine"),
        ({"encode": [1, 2]}, r"encode has shape \(2,\)"),
        ({"decode": "codec"}, "decode is not an array of numbers"),
        ({"encode": np.full((2, 2), 1e308), "decode": np.full((2, 2), 1e308)}, "add up to more than float64 holds"),
    ],
)
def test_bad_costs_are_named(arguments, message):
    with pytest.raises(ProblemError, match=message):
        two(tensor_names=("x", "y"), **arguments)
    with pytest.raises(ProblemError, match=message):
        two(tensor_names=("x", "y")).with_costs(**arguments)


def answer(problem, method, **options):
    try:
        found = solve(problem, method, **options)
    except (InfeasibleError, MethodError) as refusal:
        return str(refusal)
    return found.value, found.optimal


@pytest.mark.parametrize("seed", range(scaled(150, 3000)))
def test_equal_for_all_tensors_it_is_a_price_of_the_link(seed):
    """Whole numbers, so that every order of adding up gives the same bits."""
    rng = np.random.default_rng((41, seed))
    n_machines = 2 if seed % 3 else 3
    if n_machines == 2:
        problem = random_problem(rng, max_layers=10)
    else:
        problem = random_network(rng, n_machines=3, max_layers=7, delays=bool(seed % 2))
    sends, takes = rng.integers(0, 4, (2, n_machines)).astype(np.float64)
    whole = problem.with_costs(
        compute=np.round(problem.compute * 4),
        tensor_size_bytes=np.round(problem.tensor_size_bytes),
        per_tensor=np.round(problem.per_tensor * 4),
        per_byte=np.round(problem.per_byte * 4),
        delay=np.round(problem.delay * 4),
        encode=np.zeros_like(problem.encode),
        decode=np.zeros_like(problem.decode),
    )
    on_link = whole.with_costs(per_tensor=whole.per_tensor + (sends[:, None] + takes) * (1 - np.eye(n_machines)))
    shape = problem.encode.shape
    on_machines = whole.with_costs(encode=np.broadcast_to(sends, shape), decode=np.broadcast_to(takes, shape))
    for method in ("auto", "chain", "dp", "min-cut"):
        assert answer(on_machines, method) == answer(on_link, method)
    if seed % 10 == 0:
        assert answer(on_machines, "milp") == answer(on_link, "milp")


def test_tensors_that_travel_together_add_up():
    """Several tensors of one layer with the same consumers are one link or one state; each pays its own."""
    rng = np.random.default_rng(43)
    for _ in range(scaled(40, 800)):
        tensors = [(0, 1.0, [1])] * 3 + [(1, 0.5, [2, 3])] * 2 + [(2, 1.0, [3]), (2, 0.0, [3]), (1, 1.0, [])]
        shape = (len(tensors), 2)
        problem = Problem.build(
            rng.normal(0, 3, (4, 2)),
            tensors,
            per_byte=[[0, 0.1], [0.2, 0]],
            delay=[[0, 0.1], [0.1, 0]],
            max_server_visits=[None, 1][rng.integers(2)],
            encode=rng.exponential(0.3, shape),
            decode=rng.exponential(0.3, shape),
        )
        for method in ("dp", "min-cut", "milp"):
            assert solve(problem, method).value == pytest.approx(naive.optimum(problem), rel=1e-9, abs=1e-9)
        batch = solve_batch(problem, compute=problem.compute[None], analysis=analyse(problem))
        assert batch.values[0] == pytest.approx(naive.optimum(problem), rel=1e-9, abs=1e-9)


def test_a_machine_that_slows_down_encodes_and_decodes_slower():
    problem = two(compute=[[0, INF], [4, 1], [4, 1]], per_byte=[[0, 1], [1, 0]])
    server, device = load_family(problem, 1), load_family(problem, 0)
    assert server.at(3.0).encode.tolist() == [[1, 6], [4, 24]]
    assert server.at(3.0).decode.tolist() == [[16, 96], [64, 384]]
    assert server.value_line([0, 1, 0]) == (1 + 3 + 64 + 1 + 4, 32 + 8 + 1)
    assert device.value_line([0, 1, 0]) == (32 + 8 + 3 + 1 + 1, 1 + 64 + 4)
    for family in (server, device):
        rows = list(naive_sweeps.lines(family).values())
        found = breakpoints(family, 0.0, 40.0)
        for theta in (0.0, 1.0, 7.5, 40.0):
            assert float(found.values_at([theta])[0]) == pytest.approx(naive_sweeps.least(rows, theta))
    with pytest.raises(ProblemError, match=r"at theta = -1\.0 encode has a negative entry"):
        server.at(-1.0)


def test_joules_are_drawn_as_for_layers_there():
    power = Power([2.0, 50.0], [0.5, 9.0], np.full((2, 2), 7.0), np.full((2, 2), 5.0))
    energy = energy_problem(two(), power)
    assert energy.encode.tolist() == [[2, 1], [8, 4]]
    assert energy.decode.tolist() == [[32, 16], [128, 64]]
    both = weighted([(two(), 1.0), (energy, 2.0)])
    assert both.encode.tolist() == [[5, 4], [20, 16]]
    assert weighted([(two(encode=None, decode=None), 1.0)]).crossing_work.size == 0


def test_a_pipeline_loads_machines_with_it_and_not_links():
    problem = two(per_byte=[[0, 0.125], [0.25, 0]])
    for half_duplex, links in ((False, [0.375, 0.25]), (True, [0.625])):
        expected = [1 + 64, 8 + 32, *links]
        assert resource_totals(problem, [0, 1, 0], half_duplex=half_duplex).tolist() == expected
        assert pipeline_totals(problem, np.array([0, 1, 0]), half_duplex=half_duplex).tolist() == expected
    busy = two(compute=[[9, 0], [9, 0], [9, 0]], encode=[[9, 9]] * 2, decode=[[9, 9]] * 2)
    assert pipeline_throughput(busy).value == 0


def test_limits_on_bytes_do_not_count_it():
    problem = two(compute=[[0, INF], [9, 1], [9, 1]], encode=[[0.5, 0]] * 2, decode=[[0, 0.5]] * 2)
    assert within_memory(problem, [1, 1, 1], [3, 2]).value == 3.0
    assert within_memory(problem, [1, 1, 1], [3, 1]).placement.tolist() != [0, 1, 1]


def test_a_dear_codec_is_no_reason_to_forbid_a_placement():
    """Alternatives keep layers off machines by a cost beyond all others, coding included."""
    problem = two(encode=np.full((2, 2), 1e6), decode=np.full((2, 2), 1e6))
    expected = [value for value, _ in naive_sweeps.sorted_values(problem)]
    assert [found.value for found in k_best(problem, 8)] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(scaled(40, 400)))
def test_a_claim_of_optimality_holds_at_any_magnitude(seed):
    rng = np.random.default_rng((47, seed))
    problem = random_problem(rng, max_layers=6)
    wild = problem.with_costs(
        encode=rng.exponential(1.0, problem.encode.shape) * 10.0 ** rng.integers(-9, 13, problem.encode.shape),
        decode=rng.exponential(1.0, problem.encode.shape) * 10.0 ** rng.integers(-9, 13, problem.encode.shape),
    )
    best = naive.optimum(wild)
    if best == INF:
        return
    for method in ("auto", "dp", "min-cut"):
        found = solve(wild, method)
        assert found.bound <= best + 1e-12 * abs(best)
        assert not found.optimal or found.value <= best + 1e-9 * abs(best)


def test_tiers_have_no_rule_for_it():
    links = relay_links([1.0, 1.0], [1.0, 1.0])
    problem = Problem.build(np.ones((2, 3)), [(0, 1.0, [1])], per_byte=links, max_server_visits=None)
    coded = problem.with_costs(encode=[[0, 0, 1]])
    assert solve_tiers(problem, relay=True).optimal
    for ask in (lambda: solve_tiers(coded, relay=True), lambda: solve_tiers(coded), lambda: relay_value(coded, [0, 1])):
        with pytest.raises(ProblemError, match=r"tensor 0 costs something to encode or decode; leave encode and"):
            ask()
