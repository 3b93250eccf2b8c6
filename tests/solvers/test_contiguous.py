"""Throughput over several machines: down-sets and contiguous splits against enumeration, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, ProblemError, _jit
from solvers.contiguous import maximise_throughput
from solvers.contiguous_groups import grouped
from solvers.contiguous_problem import PipelineProblem, pipeline_loads
from solvers.down_sets import chain_of, down_sets
from tests import naive_throughput as naive
from tests.scale import scaled

INF = float("inf")
CASES = scaled(300, 3000)


def random_pipeline(rng):
    """Draw a small problem: kinds, counts, memory limits, colocated and backward layers, tensors with many readers."""
    machines = [[1], [2], [3], [4], [1, 1], [2, 1], [1, 1, 1], [2, 0, 1], [3, 1]][rng.integers(9)]
    n_machines = sum(machines)
    n = int(rng.integers(1, {1: 9, 2: 9, 3: 8, 4: 7}[n_machines]))
    n_kinds = len(machines)
    density = rng.choice([0.15, 0.3, 0.6])
    edges = [(a, b) for b in range(n) for a in range(b) if rng.random() < density]
    integral = rng.random() < 0.5
    compute = rng.integers(0, 5, (n, n_kinds)).astype(float) if integral else rng.exponential(1.0, (n, n_kinds))
    compute[rng.random(n) < rng.choice([0.0, 0.4])] = 0.0
    compute[rng.random((n, n_kinds)) < rng.choice([0.0, 0.0, 0.2])] = INF
    for row in compute:
        if not any(cost < INF and count for cost, count in zip(row, machines, strict=True)):
            row[:] = 1.0
    tensors = []
    for a in range(n):
        readers = [b for tail, b in edges if tail == a]
        if readers and rng.random() < 0.6:
            tensors.append((a, readers))
        else:
            tensors += [(a, [b]) for b in readers]
    if rng.random() < 0.2:
        tensors.append((int(rng.integers(n)), []))
    contiguous = np.ones(n, dtype=bool)
    if rng.random() < 0.4:
        contiguous[int(rng.integers(0, n + 1)) :] = False
        if rng.random() < 0.3:
            contiguous = rng.random(n) < 0.6
    colocated = []
    for _ in range(rng.integers(0, 3)):
        group = rng.permutation(n)[: rng.integers(1, min(n, 3) + 1)]
        colocated.append(tuple(int(layer) for layer in group))
    scale = rng.choice([0.0, 0.3, 1.0, 3.0])
    prices = rng.integers(0, 4, (2, len(tensors), n_kinds)) * scale
    if rng.random() < 0.5:
        prices = rng.exponential(scale + 1e-3, (2, len(tensors), n_kinds))
    if rng.random() < 0.5:
        prices[1] = prices[0]
    prices[:, :, rng.random(n_kinds) < 0.2] = 0.0
    memory = rng.integers(0, 4, n).astype(float)
    limits = [INF if rng.random() < 0.4 else float(memory.sum() * rng.uniform(0.2, 1.0)) for _ in machines]
    order = rng.permutation(n) if rng.random() < 0.3 else np.arange(n)
    renamed = np.empty(n, dtype=int)
    renamed[order] = np.arange(n)
    try:
        return PipelineProblem(
            compute=compute[order],
            tensor_producer=np.array([renamed[a] for a, _ in tensors], dtype=np.int64),
            consumer_offsets=np.cumsum([0] + [len(readers) for _, readers in tensors]),
            consumer_layers=np.array([renamed[b] for _, readers in tensors for b in readers], dtype=np.int64),
            receive=prices[0],
            send=prices[1],
            machine_counts=np.array(machines),
            memory_bytes=memory[order],
            memory_limit_bytes=np.array(limits),
            contiguous=contiguous[order],
            colocated=tuple(tuple(int(renamed[layer]) for layer in group) for group in colocated),
        )
    except InfeasibleError:
        return random_pipeline(rng)


def answer(problem, **options):
    try:
        return maximise_throughput(problem, **options)
    except InfeasibleError:
        return None


@pytest.mark.parametrize("part", range(4))
def test_agrees_with_enumeration(part, monkeypatch):
    """Every placement is tried; pruning and its absence, and both backends, give the same."""
    rng = np.random.default_rng(20_200 + part)
    n_infeasible = n_split = n_merged = 0
    for case in range(CASES // 4):
        problem = random_pipeline(rng)
        best = naive.optimum(problem)
        monkeypatch.setattr(_jit, "override", "plain")
        found = answer(problem)
        whole = answer(problem, prune=False)
        monkeypatch.setattr(_jit, "override", "compiled")
        compiled = answer(problem)
        if best == INF:
            assert (found, whole, compiled) == (None, None, None), (part, case)
            n_infeasible += 1
            continue
        assert found.value == pytest.approx(best, rel=1e-12, abs=1e-12), (part, case)
        assert whole.value == pytest.approx(best, rel=1e-12, abs=1e-12), (part, case)
        assert found.optimal
        assert naive.value(problem, found.placement.tolist()) == pytest.approx(found.value, rel=1e-12, abs=1e-12)
        assert found.placement.tolist() == compiled.placement.tolist()
        assert (found.value, found.n_pairs, found.pipeline) == (compiled.value, compiled.n_pairs, compiled.pipeline)
        assert found.n_pairs <= whole.n_pairs
        assert set(found.pipeline) == set(found.placement.tolist())
        n_split += len(found.pipeline) > 1
        n_merged += grouped(problem).n_groups < problem.n_layers
    assert n_infeasible > CASES // 100
    assert n_split > CASES // 16
    assert n_merged > CASES // 16


def test_loads_agree_with_the_definition():
    rng = np.random.default_rng(7)
    seen = {"": 0, "allowed": 0, "hold": 0, "colocated": 0, "contiguous": 0}
    for _ in range(scaled(300, 3000)):
        problem = random_pipeline(rng)
        placement = rng.integers(0, problem.n_machines, problem.n_layers)
        if rng.random() < 0.5:
            placement = np.sort(placement)
        found = pipeline_loads(problem, placement)
        expected = naive.value(problem, placement.tolist())
        assert found.value == pytest.approx(expected, rel=1e-12)
        if expected < INF:
            assert found.load.tolist() == pytest.approx(naive.loads(problem, placement.tolist()))
        for word in seen:
            seen[word] += word in found.reason if word else found.reason == ""
    assert all(seen.values()), seen


@pytest.mark.parametrize("backend", ["plain", "compiled"])
def test_down_sets_agree_with_enumeration(backend, monkeypatch):
    monkeypatch.setattr(_jit, "override", backend)
    rng = np.random.default_rng(11)
    for _ in range(scaled(40, 400)):
        n = int(rng.integers(0, 10))
        edges = [(a, b) for b in range(n) for a in range(b) if rng.random() < rng.choice([0.05, 0.2, 0.5])]
        ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
        sets = down_sets(n, ends[:, 0], ends[:, 1], limit=1 << n)
        assert sets.n_sets == naive.down_set_count(n, edges)
        members = [frozenset(sets.members(index)) for index in range(sets.n_sets)]
        assert len(set(members)) == sets.n_sets
        assert (members[0], members[-1]) == (set(), set(range(n)))
        for index, held in enumerate(members):
            covers = range(sets.offsets[index], sets.offsets[index + 1])
            added = [int(sets.elements[k]) for k in covers]
            addable = {b for b in range(n) if b not in held and all(a in held for a, other in edges if other == b)}
            assert added == sorted(addable, reverse=True)
            for k in covers:
                assert members[sets.targets[k]] == held | {int(sets.elements[k])}
        if sets.n_sets > 1:
            with pytest.raises(MethodError, match=f"more than {sets.n_sets - 1} down-sets"):
                down_sets(n, ends[:, 0], ends[:, 1], limit=sets.n_sets - 1)


def test_prefixes_are_the_down_sets_of_a_chain():
    counting = np.arange(6)
    made, short = down_sets(7, counting, counting + 1, limit=100), chain_of(7)
    for name in made._fields:
        assert getattr(made, name).tolist() == getattr(short, name).tolist(), name


def test_more_elements_than_bits_in_a_word():
    counting = np.arange(299)
    assert down_sets(300, counting, counting + 1, limit=301).n_sets == 301
    # Two chains of 150 side by side.
    kept = counting[counting != 149]
    assert down_sets(300, kept, kept + 1, limit=30_000).n_sets == 151 * 151


def test_every_pair_is_looked_at_once_without_pruning():
    rng = np.random.default_rng(5)
    for _ in range(scaled(20, 200)):
        n = int(rng.integers(1, 9))
        edges = [(a, b) for b in range(n) for a in range(b) if rng.random() < 0.3]
        tensors = [(a, 1.0, [b]) for a, b in edges]
        problem = PipelineProblem.build(rng.uniform(1, 2, (n, 1)), tensors, machine_counts=[n])
        found = maximise_throughput(problem, prune=False)
        assert found.n_down_sets == naive.down_set_count(n, edges)
        assert found.n_pairs == naive.comparable_pair_count(n, edges)


def test_a_tensor_is_paid_once_however_many_layers_read_it():
    """One tensor read by four layers, all on the second machine: merged layers must not be charged one by one."""
    compute = [[4.0], [1.0], [1.0], [1.0], [1.0]]
    problem = PipelineProblem.build(compute, [(0, 0.5, [1, 2, 3, 4])], machine_counts=[2])
    found = maximise_throughput(problem)
    assert found.value == 4.5
    loads = pipeline_loads(problem, found.placement)
    assert (loads.receive.sum(), loads.send.sum()) == (0.5, 0.5)
    merged = PipelineProblem.build(compute, [(0, 0.5, [1, 2, 3, 4])], machine_counts=[2], colocated=[(1, 2), (3, 4)])
    assert maximise_throughput(merged).value == 4.5


def test_backward_layers_follow_their_forward_ones():
    """A chain and its mirror image: the parts of the backward half are no down-set differences in the same order."""
    n = 4
    forward = [(v, 0.25, [v + 1]) for v in range(n - 1)]
    # Layer v and layer 2n - 1 - v share a machine.
    backward = [(v, 0.25, [v + 1]) for v in range(n, 2 * n - 1)]
    tensors = [*forward, (n - 1, 0.0, [n]), *backward]
    arguments = {
        "machine_counts": [2],
        "colocated": [(v, 2 * n - 1 - v) for v in range(n)],
    }
    compute = np.ones((2 * n, 1))
    flags = np.arange(2 * n) < n
    found = maximise_throughput(PipelineProblem.build(compute, tensors, contiguous=flags, **arguments))
    assert found.placement.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert found.value == 4 + 2 * 0.25
    strict = maximise_throughput(PipelineProblem.build(compute, tensors, **arguments))
    assert strict.value == 8
    assert len(strict.pipeline) == 1


def test_loose_ends_without_load_do_not_multiply_down_sets():
    """Twenty weights that a layer reads are 2^20 down-sets; without load they join their reader."""
    tensors = [(0, 1.0, [1]), *((v, 1.0, [1]) for v in range(2, 22))]
    compute = [[1.0], [2.0], *([0.0],) * 20]
    found = maximise_throughput(PipelineProblem.build(compute, tensors, machine_counts=[2]))
    assert (found.value, found.n_down_sets) == (3.0, 3)
    with_load = [[1.0], [2.0], *([0.1],) * 20]
    with pytest.raises(MethodError, match="more than 1000 down-sets of the 22 groups of layers, out of reach"):
        maximise_throughput(
            PipelineProblem.build(with_load, tensors, machine_counts=[2]), "down-sets", down_set_limit=1000
        )
    # Their bytes keep them apart where memory is short.
    limited = PipelineProblem.build(
        compute[:4], tensors[:3], machine_counts=[2], memory_bytes=[2, 2, 1, 3], memory_limit_bytes=[4]
    )
    found = maximise_throughput(limited)
    assert found.n_down_sets > 3
    assert found.value == naive.optimum(limited)


def test_times_of_very_different_size_are_not_lost():
    """A huge tensor inside a part comes and goes in its load and must leave no trace."""
    tensors = [(0, 1e12, [1]), (1, 0.25, [2]), (2, 0.25, [3])]
    problem = PipelineProblem.build([[0.1], [0.2], [0.3], [0.1]], tensors, machine_counts=[2])
    found = maximise_throughput(problem)
    assert found.value == pytest.approx(naive.optimum(problem), rel=1e-6)
    assert found.bound <= found.value
    assert found.value - found.bound <= 1e-4


def test_a_problem_without_layers():
    problem = PipelineProblem.build(np.zeros((0, 1)), [], machine_counts=[1])
    found = maximise_throughput(problem)
    assert (found.value, found.pipeline, found.optimal) == (0.0, (), True)


def build(compute=((1.0, 2.0), (2.0, 1.0)), tensors=((0, 1.0, [1]),), **more):
    return PipelineProblem.build(compute, tensors, **{"machine_counts": [1, 1], "layer_names": ("conv", "relu")} | more)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"compute": ((1, 1), (float("nan"), 1))}, "layer 'relu' takes nan on kind 0; give a number >= 0"),
        ({"compute": ((1, 1), (1, -2))}, "layer 'relu' takes -2.0 on kind 1; give a number >= 0"),
        ({"compute": ((1,), (1,))}, "compute has shape (2, 1); give (n_layers, 2)"),
        ({"machine_counts": [0, 0]}, "there is no machine"),
        ({"machine_counts": [2, -1]}, "there are -1 machines of kind 1"),
        ({"machine_counts": [1.5, 1]}, "give one whole number for each kind"),
        ({"tensors": ((0, -1.0, [1]),)}, "to receive tensor 0 takes -1.0 on kind 0"),
        ({"tensors": ((0, INF, [1]),)}, "to receive tensor 0 takes inf on kind 0"),
        ({"tensors": ((0, 1.0, [2]),)}, "tensor 0 is consumed by layer 2; layers are 0 to 1"),
        ({"tensors": ((0, 1.0, [1]), (1, 1.0, [0]))}, "depends on its own output"),
        ({"memory_bytes": [1.0, float("nan")]}, "layer 'relu' takes nan bytes"),
        ({"memory_bytes": [-1.0, 1]}, "layer 'conv' takes -1.0 bytes"),
        ({"memory_bytes": [1.0]}, "memory_bytes has shape (1,); give (2,)"),
        ({"memory_limit_bytes": [1.0, float("nan")]}, "a machine of kind 1 holds nan bytes"),
        ({"memory_limit_bytes": [1.0, -1.0], "kind_names": ("a", "b")}, "a machine of kind 'b' holds -1.0 bytes"),
        ({"contiguous": [1, 0]}, "contiguous has shape (2,) and type int64"),
        ({"contiguous": [True]}, "contiguous has shape (1,)"),
        ({"colocated": [(0, 5)]}, "colocated names layer 5"),
        ({"kind_names": ("a",)}, "kind_names has 1 names; give 2 or none"),
        ({"compute": ((1e308, 1e308), (1e308, 1))}, "add up to more than float64 holds"),
        ({"compute": (("a", 1), (1, 1))}, "compute is not an array of numbers"),
        ({"tensors": ((0, "a", [1]),)}, "tensors is not an array of numbers"),
        ({"tensors": ((0.5, 1.0, [1]),)}, "tensor_producer has type float64; give whole numbers"),
        ({"tensors": ((0, 1.0, ["relu"]),)}, "consumer_layers has type <U4; give whole numbers"),
    ],
)
def test_problems_that_are_none(arguments, said):
    with pytest.raises(ProblemError) as refused:
        build(**arguments)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"compute": ((1, 1), (INF, INF))}, "layer 'relu' is allowed on no machine"),
        ({"compute": ((1, 1), (INF, 1)), "machine_counts": [2, 0]}, "layer 'relu' is allowed on no machine"),
        ({"compute": ((1, INF), (INF, 1)), "colocated": [(0, 1)]}, "no machine allows all of the colocated"),
        (
            {"memory_bytes": [5, 1], "memory_limit_bytes": [4, 4]},
            "layer 'conv' takes 5 bytes, more than any machine holds that allows it; raise",
        ),
        (
            {"memory_bytes": [3, 2], "memory_limit_bytes": [4, 4], "colocated": [(0, 1)]},
            "layer 'conv' and the 1 that must sit with it take 5 bytes",
        ),
        ({"memory_bytes": [3, 2], "memory_limit_bytes": [4, 1]}, "no contiguous split fits the machines"),
    ],
)
def test_problems_without_a_placement(arguments, said):
    with pytest.raises(InfeasibleError) as refused:
        maximise_throughput(build(**arguments))
    assert said in str(refused.value)


def test_circles_of_colocated_layers_that_no_machine_takes():
    """a -> b -> c with a and c together: b must join them, and no machine allows all three."""
    compute = [[1.0, INF], [INF, 1.0], [1.0, INF]]
    problem = PipelineProblem.build(compute, [(0, 1.0, [1]), (1, 1.0, [2])], machine_counts=[1, 1], colocated=[(0, 2)])
    with pytest.raises(InfeasibleError, match="no machine allows layer 0 and the 2 that must sit with it"):
        maximise_throughput(problem)


def test_what_is_out_of_reach_is_not_infeasible():
    many = PipelineProblem.build(np.ones((30, 1)), [], machine_counts=[3])
    with pytest.raises(MethodError, match="more than 100000 down-sets of the 30 groups of layers, out of reach"):
        maximise_throughput(many, "down-sets")
    unequal = PipelineProblem.build(np.ones((2, 30)), [(0, 1.0, [1])], machine_counts=[1] * 30)
    with pytest.raises(MethodError, match="combinations of used machines are more than"):
        maximise_throughput(unequal, "down-sets")
    for wrong in (0, 1.5, "x", True):
        with pytest.raises(ProblemError, match=r"down_set_limit is .*; give a whole number of 1 or more"):
            maximise_throughput(many, down_set_limit=wrong)
    for wrong in (-1, INF - INF, "x"):
        with pytest.raises(ProblemError, match=r"time_limit_s is .*; give a number of seconds > 0"):
            maximise_throughput(many, time_limit_s=wrong)
    with pytest.raises(MethodError, match="there is no method 'dp'; choose from auto, down-sets, milp"):
        maximise_throughput(many, "dp")


def test_too_many_down_sets_go_to_the_integer_program():
    tensors = [(0, 1.0, [1]), *((v, 1.0, [1]) for v in range(2, 10))]
    compute = [[1.0], [2.0], *([0.1],) * 8]
    problem = PipelineProblem.build(compute, tensors, machine_counts=[2])
    exact = maximise_throughput(problem)
    found = maximise_throughput(problem, down_set_limit=20)
    assert (exact.method, found.method, found.optimal) == ("down-sets", "milp", True)
    assert found.value == pytest.approx(exact.value, rel=1e-9)
    assert maximise_throughput(problem, "milp").value == found.value


@pytest.mark.parametrize(
    ("placement", "said"),
    [([0], "shape"), ([0, 2], "layer 'relu' is placed on machine 2; machines are 0 to 1"), ([0.5, 1], "whole numbers")],
)
def test_placements_that_are_none(placement, said):
    with pytest.raises(ProblemError, match=said):
        pipeline_loads(build(), placement)


def test_a_small_problem_loads_neither_numba_nor_scipy():
    code = """
import sys
from solvers.contiguous import maximise_throughput
from solvers.contiguous_problem import PipelineProblem
tensors = [(v, 0.5, [v + 1]) for v in range(39)]
assert maximise_throughput(PipelineProblem.build([[1.0]] * 40, tensors, machine_counts=[4])).value == 11.0
assert not {"numba", "scipy", "onnx", "networkx"} & set(sys.modules), sorted(sys.modules)
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("tensors", "options", "said"),
    [
        ([(0, 1.0)], {}, r"tensor 0 is \(0, 1.0\); give \(producer, time, consumers\)"),
        ([(0, 1.0, 1)], {}, "the list of consumers of tensor 0 is 1; give a list"),
        ([5], {}, "tensor 0 is 5; give a list"),
        (5, {}, "tensors is 5; give a list"),
        ([(0, [1, 2], [1])], {}, "tensor times has shape"),
        ([(0, 1.0, [[1], [1, 2]])], {}, "the list of consumers is not an array"),
        ([], {"pays_transfers": ["a"]}, r"pays_transfers is \['a'\]; give one boolean for each of 1 kinds"),
        ([], {"pays_transfers": [True, True]}, "give one boolean for each of 1 kinds"),
        ([], {"kind_names": 5}, "kind_names is 5; give a list"),
        ([], {"layer_names": "ab"}, "layer_names is 'ab'; give a list"),
        ([], {"colocated": [5]}, "a group of colocated is 5; give a list"),
        ([], {"contiguous": [[1], [1, 2]]}, "contiguous is not an array"),
    ],
)
def test_what_build_does_not_understand(tensors, options, said):
    with pytest.raises(ProblemError, match=said):
        PipelineProblem.build([[1.0], [2.0]], tensors, machine_counts=[2], **options)


def test_bytes_beyond_64_bits():
    def heavy(n_bytes, limit):
        return PipelineProblem.build(
            [[1.0], [2.0]], [(0, 0.5, [1])], machine_counts=[2], memory_bytes=n_bytes, memory_limit_bytes=[limit]
        )

    for method in ("down-sets", "milp"):
        assert maximise_throughput(heavy([1e19, 1e19], 1.5e19), method).placement.tolist() == [0, 1]
        assert maximise_throughput(heavy([1e300, 1e300], 1e300), method).placement.tolist() == [0, 1]
        assert maximise_throughput(heavy([1e19, 1e19], 2e19), method).value == 2.5
    for limit in (0.0, 0.5e19):
        with pytest.raises(InfeasibleError, match=r"layer 0 takes 1e\+19 bytes"):
            maximise_throughput(heavy([1e19, 1e19], limit))


@pytest.mark.parametrize("unit", [5e-324, 1e-320, 1e-310, 1e-306, 1e300])
def test_times_at_the_ends_of_float64(unit):
    problem = PipelineProblem.build(np.array([[1.0], [2.0], [4.0]]) * unit, [(0, unit, [1])], machine_counts=[2])
    best = naive.optimum(problem)
    for method in ("down-sets", "milp"):
        solution = maximise_throughput(problem, method)
        assert solution.value == best
        assert 0 <= solution.bound <= best


def test_how_they_print():
    problem = build()
    assert repr(problem) == "PipelineProblem(2 layers, 1 tensors, 2 machines)"
    assert repr(pipeline_loads(problem, [0, 1])) == "PipelineLoads(value=2, 2 machines)"


def test_pruning_loses_nothing_beyond_enumeration(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")
    rng = np.random.default_rng(77)
    for _ in range(scaled(60, 1500)):
        n = int(rng.integers(10, 19))
        width = int(rng.integers(2, 5))
        edges = [(a, b) for b in range(n) for a in range(max(0, b - width), b) if rng.random() < 0.5]
        tensors = [(a, float(rng.exponential(0.5)), [b for tail, b in edges if tail == a]) for a in range(n)]
        accelerator = rng.exponential(1.0, n)
        memory = rng.integers(1, 5, n)
        problem = PipelineProblem.build(
            np.stack([accelerator, accelerator * rng.uniform(1, 8)], axis=1),
            tensors,
            machine_counts=[int(rng.integers(1, 5)), int(rng.integers(0, 3))],
            pays_transfers=[True, bool(rng.random() < 0.5)],
            memory_bytes=memory,
            memory_limit_bytes=[float(memory.sum() * rng.uniform(0.2, 1.0)), INF],
            contiguous=np.arange(n) < n * rng.choice([0.6, 1.0, 1.0]),
            colocated=[tuple(rng.permutation(n)[:2].tolist()) for _ in range(rng.integers(0, 3))],
        )
        found, whole = answer(problem), answer(problem, prune=False)
        assert (found is None) == (whole is None)
        if found is not None:
            assert found.value == pytest.approx(whole.value, rel=1e-12)
            assert found.n_pairs <= whole.n_pairs
