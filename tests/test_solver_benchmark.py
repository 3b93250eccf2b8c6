"""The benchmark of the solvers: its graphs are frozen, its contestants solve one problem, its rows are plain JSON.

No timing is asserted here. What needs a library of the extra ``bench`` is skipped where that is not installed.
"""

import hashlib
import itertools
import json
import time

import numpy as np
import pytest

from benchmarks.__main__ import SECTIONED, main
from benchmarks.section import seconds
from benchmarks.settings import Settings
from benchmarks.solvers import SECTIONS, graphs, light, topologies
from benchmarks.solvers.flow_libraries import INTEGER_TOLERANCE, Arcs, networkx, pymaxflow_rebuilt
from benchmarks.solvers.highs import highs
from benchmarks.solvers.section import DifferentOptimaError, same_value
from benchmarks.solvers.timing import alternate, trial
from solvers import MethodError, Problem, evaluate, solve
from tests.scale import scaled

INF = float("inf")
GENERATORS = {
    **{name: (lambda make=make: make(60)) for name, make in {**graphs.FOLDING, **graphs.WIDE}.items()},
    **graphs.STRUCTURES,
}
FROZEN = {
    "chain": "48b242f02eb10b7d",
    "inception-like": "d673c3f9fd880c9c",
    "transformer-like": "13b8f66b03b0a2a7",
    "dense-12": "b3f0a9d5f6ba3195",
    "random layered": "01c44eee458780e0",
    "encoder, shared mask": "a6146db42347d682",
    "decoder, rotary tables and mask": "8d248f4b75ba2393",
    "encoder-decoder": "47bc33914af5a27f",
    "relative position bias": "114789f07b77c495",
    "U-Net, time embedding": "81ee1e4a16d4b780",
    "dense-4": "70a41b1d5fff9a48",
}
FROZEN_COSTS = {
    ("realistic", 2): [10.137800499776352, -2271883.163441026],
    ("realistic", 3): [10.945839248307081, -2271883.163441026],
    ("hard", 2): [7.886043464402705, -0.1147952774167854],
    ("hard", 3): [5.218735010542785, -0.1147952774167854],
}


def digest(topology):
    parts = (topology.pinned, topology.tensor_producer, topology.consumer_offsets, topology.consumer_layers)
    text = json.dumps([topology.name, topology.n_layers, *(part.tolist() for part in parts)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weighted_sums(problem):
    """Two figures that change if any cost does."""
    finite = np.where(np.isfinite(problem.compute), problem.compute, 7.0).ravel()
    sizes = problem.tensor_size_bytes
    return [float(finite @ np.cos(np.arange(finite.size))), float(sizes @ np.cos(np.arange(sizes.size)))]


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_are_frozen(name):
    assert digest(GENERATORS[name]()) == FROZEN[name]


@pytest.mark.parametrize("kind", graphs.COST_KINDS)
@pytest.mark.parametrize("n_machines", [2, 3])
def test_costs_are_frozen(kind, n_machines):
    problem = graphs.with_costs(topologies.inception_like(40), kind, n_machines=n_machines)
    assert weighted_sums(problem) == pytest.approx(FROZEN_COSTS[kind, n_machines], rel=1e-9)


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_graphs_run_from_inputs_to_outputs(name):
    topology = GENERATORS[name]()
    assert topology.name == name
    tails = np.repeat(topology.tensor_producer, np.diff(topology.consumer_offsets))
    assert (topology.consumer_layers > tails).all()
    read, made = np.zeros(topology.n_layers, dtype=bool), np.zeros(topology.n_layers, dtype=bool)
    read[tails] = True
    made[topology.consumer_layers] = True
    # What reads nothing is an input, what nobody reads an output, and both are pinned.
    assert set(np.flatnonzero(~(read & made)).tolist()) == set(topology.pinned.tolist())


def test_a_hub_is_read_by_every_block():
    counts = dict.fromkeys(("encoder, shared mask", "relative position bias", "U-Net, time embedding"), 0)
    for name in counts:
        counts[name] = int(np.diff(graphs.STRUCTURES[name]().consumer_offsets).max())
    assert counts == {"encoder, shared mask": 12, "relative position bias": 24, "U-Net, time embedding": 25}


def random_problem(rng, n_machines=2):
    n_layers = int(rng.integers(2, 8))
    compute = rng.integers(-3, 12, (n_layers, n_machines)).astype(float)
    compute[0, 1:] = INF
    if rng.random() < 0.5:
        compute[-1, :-1] = INF
    tensors = []
    for layer in range(n_layers - 1):
        later = [other for other in range(layer + 1, n_layers) if rng.random() < 0.4]
        tensors.append((layer, float(rng.integers(0, 9)), later or [layer + 1]))
    per_byte = rng.integers(0, 3, (n_machines, n_machines)).astype(float)
    np.fill_diagonal(per_byte, 0.0)
    return Problem.build(compute, tensors, per_byte=per_byte, max_server_visits=None)


def least(problem):
    placements = itertools.product(range(problem.n_machines), repeat=problem.n_layers)
    return min(evaluate(problem, np.array(placement)) for placement in placements)


@pytest.mark.parametrize("name", ["PyMaxflow", "PyMaxflow, rebuilt", "igraph", "OR-Tools", "networkx", "HiGHS"])
def test_contestants_find_the_least_of_all_placements(name):
    from benchmarks.solvers.flow_libraries import LIBRARIES, pymaxflow_graph

    modules = {"igraph": "igraph", "OR-Tools": "ortools", "networkx": "networkx", "HiGHS": "scipy"}
    pytest.importorskip(modules.get(name, "maxflow"))
    calls = {"networkx": networkx, "HiGHS": highs, **LIBRARIES}
    if name == "PyMaxflow, rebuilt":
        graph = pymaxflow_graph()
        calls[name] = lambda problem: pymaxflow_rebuilt(problem, Arcs.of(problem), graph)
    tolerance = INTEGER_TOLERANCE if name == "OR-Tools" else 1e-9
    rng = np.random.default_rng(7)
    for _ in range(scaled(40, 1000)):
        problem = random_problem(rng)
        assert evaluate(problem, calls[name](problem)) == pytest.approx(least(problem), rel=tolerance, abs=1e-12)


def test_highs_takes_three_machines():
    rng = np.random.default_rng(8)
    for _ in range(scaled(15, 200)):
        problem = random_problem(rng, 3)
        assert evaluate(problem, highs(problem)) == pytest.approx(least(problem), rel=1e-9, abs=1e-12)


def test_different_optima_stop_the_benchmark():
    same_value("x", 1.0, {"other": 1.0 + 1e-12})
    with pytest.raises(DifferentOptimaError, match=r"x: other found 1\.01, this library 1\.0"):
        same_value("x", 1.0, {"other": 1.01})
    with pytest.raises(DifferentOptimaError):
        same_value("x", 1.0, {"other": INF})


def test_calls_take_turns():
    heard = []
    found = alternate({"a": lambda: heard.append("a"), "b": lambda: heard.append("b")}, rounds=9, least_s=0.0)
    turns = ["".join(heard[start : start + 2]) for start in range(4, len(heard), 2)]
    assert heard[:4] == ["a", "a", "b", "b"]
    assert (set(turns), len(turns)) == ({"ab", "ba"}, 9)
    assert found["a"].rounds == 9
    assert 0 < found["a"].least_s <= found["a"].median_s <= found["a"].most_s
    row = found["a"].scaled(0.5).row("a")
    assert row["a_s"] == found["a"].median_s / 2
    assert [seconds(value) for value in (2.0, 0.0312, 4.56e-5, 3e-8)] == ["2 s", "31.2 ms", "45.6 us", "0.03 us"]


def test_a_slow_contestant_is_stopped():
    assert trial(lambda: time.sleep(60), 0.05) is None
    took, answer = trial(lambda: [1, 2], 30)
    assert answer == [1, 2]
    assert took >= 0
    with pytest.raises(RuntimeError, match="without an answer"):
        trial(lambda: int("x"), 30)


def plain_json(row):
    return json.loads(json.dumps(row, allow_nan=False))


def test_light_topologies_are_priced_on_a_frozen_grid():
    problem = light.without_delays(light.light_problems("squeezenet")["layer"])
    assert not problem.delay.any()
    costs = light.grid_costs(problem, 2)
    assert len(costs) == 3 * 3 * 2
    free = np.isfinite(problem.compute).all(axis=1)
    ratios = costs.compute[:, free, 0] / costs.compute[:, free, 1]
    assert np.allclose(ratios, np.tile(np.repeat([2.0, 10.0, 50.0], 2), 3)[:, None])
    uniform = light.uniform_costs(problem, 3)
    first = uniform.problems(problem)[0]
    assert (np.isfinite(first.compute) == np.isfinite(problem.compute)).all()
    three = light.with_gateway(problem)
    assert three.n_machines == 3
    assert (np.isfinite(three.compute[:, 1]) == free).all()
    assert light.grid_costs(three, 1).compute.shape == (9, three.n_layers, 3)


def test_rows_of_large_and_wide_graphs():
    pytest.importorskip("maxflow")
    from benchmarks.solvers.contest import contest, contest_table
    from benchmarks.solvers.flow_libraries import pymaxflow
    from benchmarks.solvers.large import scaling

    problem = graphs.with_costs(graphs.WIDE["dense-12"](60), "hard")
    row = plain_json(contest(problem, 1, libraries={"PyMaxflow": pymaxflow}))
    assert row["best"] == "PyMaxflow"
    assert row["best_ratio"] == row["pymaxflow_ratio"] == pytest.approx(row["pymaxflow_s"] / row["solve_s"])
    stopped = contest(problem, 1, limit_s=0.5, libraries={"PyMaxflow": pymaxflow, "igraph": lambda _: time.sleep(9)})
    assert stopped["igraph_s"] is None
    assert stopped["best"] == "PyMaxflow"
    with pytest.raises(DifferentOptimaError):
        contest(problem, 1, libraries={"PyMaxflow": lambda one: np.zeros(one.n_layers, dtype=np.int64)})
    whole = {"ortools_s": None, "ortools_limit_s": 1.0, "family": "x", "costs": "hard"}
    assert contest_table("x", [{**stopped, **whole}]).row_count == 1

    row = plain_json(scaling([graphs.with_costs(topologies.chain(50), "realistic")], 1)[0])
    assert row["peak_bytes"] > 0
    assert row["per_layer_s"] == row["solve_s"] / 50


def test_rows_of_batches_and_single_solves():
    pytest.importorskip("maxflow")
    from benchmarks.solvers import batch, single, three_machines

    problem = light.without_delays(light.light_problems("squeezenet")["layer"])
    row = plain_json(batch.compare(problem, light.grid_costs(problem, 1), 1, networkx=True))
    assert row["vectors"] == 9
    assert row["ratio"] == pytest.approx(row["pymaxflow_s"] / row["batch_s"])
    assert {"pymaxflow_rebuilt_s", "pymaxflow_filled_s", "networkx_s", "ratio_rebuilt"} <= set(row)
    rows = [plain_json(row) for row in single.compare(problem, 1)]
    assert [row["costs"] for row in rows] == ["grid"] * 9 + ["uniform"] * 9
    three = light.with_gateway(problem)
    row = plain_json(three_machines.compare(three, light.uniform_costs(three, 2), 1, 1))
    assert row["ratio"] == pytest.approx(row["highs_s"] / row["batch_s"])


def test_a_fresh_process_does_without_numba():
    from benchmarks.solvers.single import fresh_process

    row = plain_json(fresh_process(1))
    assert row["numba_loaded"] is False
    assert row["solve_s"] > 0


def test_rows_of_structures():
    pytest.importorskip("maxflow")
    from benchmarks.solvers.structures import describe

    for n_machines, method, checker in ((2, "min-cut", "PyMaxflow"), (3, "dp", "HiGHS")):
        problem = graphs.with_costs(topologies.encoder_with_mask(2), "hard", n_machines=n_machines)
        row = plain_json(describe(problem, 1))
        assert (row["method"], row["width"], row["checked_by"]) == (method, 3, checker)
        assert row["optimal"] is True


def test_rows_of_sweeps():
    from benchmarks.solvers.sweep import all_breakpoints, matrix

    row = plain_json(matrix(10, 100, 1))
    assert (row["cuts"], row["bandwidths"]) == (10, 100)
    row = plain_json(all_breakpoints(light.light_problems("squeezenet")["layer"], 1))
    assert row["cuts"] >= 2
    assert row["solves"] >= row["cuts"]


def test_throughput_without_workloads_says_so(monkeypatch):
    from benchmarks.solvers import down_set_graphs, throughput

    generated = {
        **dict.fromkeys(("n_layers", "down_sets", "comparable_pairs", "pairs_looked_at"), 1),
        "graph": "x",
        "equal_without_pruning": True,
        "seconds": 1.0,
        "seconds_without_pruning": 2.0,
        "limit_s": 2,
        "limit_without_pruning_s": 10,
    }
    monkeypatch.setattr(down_set_graphs, "measure_down_sets", lambda quick: [generated])
    found = throughput.measure(Settings(quick=True))
    assert [bar.holds for bar in found.bars] == [True, True]
    assert "skipped" in found.notes[0]
    generated["equal_without_pruning"] = False
    with pytest.raises(DifferentOptimaError, match="pruning changes"):
        throughput.measure(Settings(quick=True))


def test_wrong_optima_of_ours_are_found(monkeypatch):
    from benchmarks.solvers import structures

    problem = graphs.with_costs(topologies.chain(6), "hard", n_machines=3)
    worse = np.zeros(problem.n_layers, dtype=np.int64)
    assert solve(problem).value < evaluate(problem, worse)
    monkeypatch.setattr(structures, "highs", lambda problem, *, time_limit_s: worse)
    with pytest.raises(DifferentOptimaError, match="HiGHS found"):
        structures.describe(problem, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("solvers", "--only", "widest"), "section 'widest' does not exist; the sections are batch, single, large"),
        (("solvers", "--workloads", "no-such-folder"), "--workloads 'no-such-folder' is not a folder"),
        (("emit", "--only", "batch"), f"--only is for the benchmark {', '.join(SECTIONED)}, not for 'emit'"),
        (("emit", "--workloads", "."), "--workloads is for the benchmark solvers"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(capsys, arguments, said):
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_missing_libraries_are_named(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.find_spec", lambda module: None if module == "igraph" else module)
    with pytest.raises(SystemExit) as left:
        main(["solvers", "--quick"])
    assert left.value.code == 2
    assert "needs igraph; install the extra" in capsys.readouterr().err


def test_a_section_alone_writes_its_result(tmp_path, monkeypatch, capsys):
    for module in ("maxflow", "igraph", "ortools"):
        pytest.importorskip(module)
    from benchmarks.solvers import three_machines

    monkeypatch.setattr(three_machines, "_QUICK_NOISY", 1)
    target = tmp_path / "solvers.json"
    options = ("--models", "squeezenet", "--repetitions", "1", "--json", str(target))
    assert main(["solvers", "--quick", "--only", "k3", *options]) == 0
    assert "seed of all graphs and costs: 0" in capsys.readouterr().out
    content = json.loads(target.read_text(encoding="utf-8"))
    assert content["benchmark"] == "solvers"
    assert [bar["limit"] for bar in content["bars"]] == [500]
    assert {row.get("section") for row in content["rows"]} == {None, "k3"}
    assert {row["kind"] for row in content["rows"]} == {"libraries", "seed", "three machines"}


def test_every_section_is_a_module():
    from importlib.util import find_spec

    assert all(find_spec(module) is not None for module in SECTIONS.values())


@pytest.mark.parametrize("n_layers", [500, 5000])
@pytest.mark.parametrize("family", [*graphs.FOLDING, *graphs.WIDE])
def test_every_method_agrees_with_pymaxflow_on_large_graphs(family, n_layers):
    pytest.importorskip("maxflow")
    from benchmarks.solvers.flow_libraries import pymaxflow

    for kind in graphs.COST_KINDS:
        problem = graphs.with_costs({**graphs.FOLDING, **graphs.WIDE}[family](n_layers), kind)
        best = evaluate(problem, pymaxflow(problem))
        for method in ("auto", "chain", "dp", "min-cut"):
            try:
                found = solve(problem, method)
            except MethodError:
                continue
            assert found.optimal
            assert found.value == pytest.approx(best, rel=1e-9)
