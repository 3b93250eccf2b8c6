"""A batch: every row is what `partition` answers for that model, link and pair, whoever solved it, whatever failed."""

import contextlib
import csv
import dataclasses
import gc
import json
import warnings

import numpy as np
import onnx
import pytest

import graph_io
from partition import InputError, Link, partition
from partition.batch import BatchModel, ScaledMachine, find_models, solve_each, solve_many
from partition.batch import files as batch_files
from partition.batch.pricing import price
from partition.batch.settings import Settings
from partition.batch.table import COLUMNS, FLOATS
from partition.energy.radio import Radio
from partition.latency import annotate as annotating
from partition.latency.predict import LayerCosts
from tests.models import model, node, random_model, relu_chain, transformer_block, value
from tests.partition.conftest import entries
from tests.partition.costs import machine, timings_of
from tests.scale import scaled

SHIPPED = ("raspberry-pi-4", "xeon-server")


def dense_model(n_nodes=26, width=24):
    """Make a graph in which each node reads the outputs of the last `width`: elimination sticks on it."""
    nodes, names = [], ["x"]
    for index in range(n_nodes):
        nodes.append(node("Sum", " ".join(names[-width:]), f"s{index}", f"n{index}"))
        names.append(f"s{index}")
    return model(nodes, {"x": (4, 64)}, [value(names[-1], [4, 64])])


@pytest.fixture(scope="module")
def graphs(light_graph):
    """Return layer graphs by name: a chain, branches, attention, and one where elimination sticks."""
    return {
        "chain": graph_io.load_graph(relu_chain(7, (1, 64))),
        "attention": graph_io.load_graph(transformer_block()),
        "squeezenet": light_graph("squeezenet"),
        "random": graph_io.load_graph(random_model(3), granularity="node"),
        "stuck": graph_io.load_graph(dense_model(), granularity="node"),
    }


NAMES = ("chain", "attention", "squeezenet", "random", "stuck")


def drawn_links(generator, count):
    """Draw links between 10 kbit/s and 10 Gbit/s, whose two rates and round trip have nothing to do with each other."""
    return [
        Link(float(10 ** generator.uniform(4, 10)), float(10 ** generator.uniform(4, 10)), float(rtt))
        for rtt in generator.choice([0.0, 1e-4, 5e-3, 0.2], count)
    ]


def drawn_timings(graph, generator, name):
    """Draw times of all layers, and conversions of two tensors of three."""
    slow = 10 ** generator.uniform(-5, -2)
    seconds = {layer: float(generator.exponential(slow)) for layer in graph}
    conversions = {
        tensor: tuple(generator.exponential(slow / 3, 2).tolist())
        for tensor in graph.graph["tensors"]
        if generator.random() < 2 / 3
    }
    return timings_of(graph, seconds, name, conversions)


def check_row(row, plan):
    """Compare a row with a plan; where several placements cost the same, they may differ in which."""
    estimate = plan.estimates[0]
    assert row.error is None
    assert row.value == pytest.approx(plan.value, rel=1e-12, abs=1e-300)
    assert row.optimal == plan.optimal
    if row.optimal:
        assert row.bound == pytest.approx(plan.bound, rel=1e-9)
    assert row.bound <= row.value
    assert (row.objective, row.device, row.server) == (plan.objective, plan.device.name, plan.server.name)
    assert row.n_layers == plan.model.n_layers
    legs = (row.device_s, row.uplink_s, row.server_s, row.downlink_s)
    assert sum(legs) == pytest.approx(row.latency_s, rel=1e-9)
    if row.cut != estimate.cut:
        return False
    assert row.latency_s == pytest.approx(plan.latency_s, rel=1e-9)
    expected = (estimate.device_s, estimate.uplink_s, estimate.server_s, estimate.downlink_s)
    assert legs == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert (row.uplink_bytes, row.downlink_bytes) == (estimate.uplink_bytes, estimate.downlink_bytes)
    assert row.n_layers_on_device == len(plan.layers_on_device)
    assert (row.value if plan.objective == "energy" else row.latency_s) == pytest.approx(plan.value, rel=1e-12)
    return True


# --- rows are plans ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output_on": "server"},
        {"output_on": "any", "max_server_visits": None},
        {"keep_inputs": True, "max_server_visits": 2},
    ],
    ids=["device", "server", "any", "keep"],
)
def test_rows_are_plans_under_drawn_costs(graphs, name, options):
    graph = graphs[name]
    generator = np.random.default_rng([1, NAMES.index(name)])
    links = drawn_links(generator, scaled(4, 40))
    pairs = [
        tuple(drawn_timings(graph, generator, f"{role} {number}") for role in ("slow", "fast")) for number in range(3)
    ]
    table = solve_many(graph, links, pairs, workers=1, **options)
    assert len(table) == len(pairs) * len(links)
    rows = iter(table)
    for device, server in pairs:
        for link in links:
            row = next(rows)
            plan = partition(graph, link, device=device, server=server, **options)
            assert (row.uplink_bits_per_s, row.rtt_s) == (link.uplink_bits_per_s, link.rtt_s)
            # Continuous costs leave no ties.
            assert check_row(row, plan)
            assert row.energy_joules is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("radio", [None, "4g", Radio("own", 0.4, 0.1, 1.0, "made up")])
def test_rows_are_plans_for_energy(graphs, name, radio, monkeypatch):
    graph = graphs[name]
    generator = np.random.default_rng([2, NAMES.index(name)])
    # Machines with power have no conversions of their own here, so they get some.
    drawn = [drawn_timings(graph, generator, "any") for _ in range(2)]
    costs = [
        LayerCosts(
            {layer.id: layer.latency_s for layer in one.layers},
            conversions_s={each.tensor: (each.encode_s, each.decode_s) for each in one.conversions},
        )
        for one in drawn
    ]
    monkeypatch.setattr(annotating, "_costs", lambda machine, *rest: costs[machine.name == "server"])
    pair = (machine(name="device"), machine(name="server", power=None))
    links = drawn_links(generator, scaled(6, 60))
    table = solve_many(graph, links, [pair], objective="energy", radio=radio, workers=1)
    for row, link in zip(table, links, strict=True):
        plan = partition(graph, link, device=pair[0], server=pair[1], objective="energy", radio=radio)
        assert check_row(row, plan)
        assert row.energy_joules == row.value


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_plans_between_shipped_machines(graphs, name):
    graph = graphs[name]
    pairs = [SHIPPED, ("raspberry-pi-5", "gpu-server")]
    table = solve_many(graph, ["3g", "4g", "wifi", "1Gbps"], pairs, workers=1)
    same = 0
    for row in table:
        link = row.link if row.link != "custom" else "1Gbps"
        same += check_row(row, partition(graph, link, device=row.device, server=row.server))
    assert same >= len(table) // 2


def test_the_energy_of_a_latency_row_is_that_of_its_cut(graphs):
    graph = graphs["squeezenet"]
    pair = (machine(name="device"), machine(name="server", memory_bytes_per_s=1e9, layer_overhead_s=1e-6))
    for row in solve_many(graph, ["3g", "wifi", "1Gbps"], [pair], workers=1):
        link = row.link if row.link != "custom" else "1Gbps"
        plan = partition(graph, link, device=pair[0], server=pair[1], objective="energy", cut=row.cut or None)
        if row.cut:
            assert row.energy_joules == pytest.approx(plan.value, rel=1e-9)
        else:
            assert row.energy_joules == pytest.approx(4.0 * row.device_s, rel=1e-9)


def test_elimination_sticks_where_the_tests_need_it(graphs):
    settings = Settings.parse(
        ["wifi"],
        [SHIPPED],
        objective="latency",
        output_on="device",
        dims=None,
        granularity="layer",
        keep_inputs=False,
        max_server_visits=1,
        radio=None,
    )
    analyses = {name: price(BatchModel(graphs[name]), settings).analysis for name in NAMES}
    assert {name for name, found in analyses.items() if found is None} == {"stuck"}
    methods = {name: {row.method for row in solve_many(graphs[name], "wifi", workers=1)} for name in NAMES}
    assert methods == {name: {"min-cut" if name == "stuck" else "dp"} for name in NAMES}


@pytest.mark.parametrize("name", ["squeezenet", "stuck"])
def test_many_links_and_pairs_in_chunks(graphs, name, monkeypatch):
    """More rows than one chunk holds, of one pair at a time or of several, give what each gives alone."""
    from partition.batch import numeric

    monkeypatch.setattr(numeric, "_CHUNK_VALUES", 1 << 13)
    graph = graphs[name]
    generator = np.random.default_rng(4)
    links = drawn_links(generator, scaled(20, 70) if name == "stuck" else 250)
    pairs = [
        (ScaledMachine(drawn_timings(graph, generator, "slow"), speed), drawn_timings(graph, generator, "fast"))
        for speed in (1, 0.01)
    ]
    table = solve_many(graph, links, pairs, workers=1)
    rows = list(table)
    assert len({row.cut for row in rows}) > 1
    for at in generator.choice(len(rows), 12, replace=False).tolist():
        pair, link = divmod(at, len(links))
        alone = next(iter(solve_many(graph, links[link], [pairs[pair]], workers=1)))
        for field in COLUMNS:
            mine, other = getattr(rows[at], field), getattr(alone, field)
            assert mine == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other), field


def test_a_scaled_machine_is_one_with_scaled_times(graphs):
    graph = graphs["attention"]
    generator = np.random.default_rng(5)
    slow, fast = (drawn_timings(graph, generator, name) for name in ("slow", "fast"))

    def scaled_by_hand(one, speed):
        return timings_of(
            graph,
            {layer.id: layer.latency_s / speed for layer in one.layers},
            one.name,
            {each.tensor: (each.encode_s / speed, each.decode_s / speed) for each in one.conversions},
        )

    links = drawn_links(generator, 20)
    rows = list(solve_many(graph, links, [(ScaledMachine(slow, 0.5), ScaledMachine(fast, 4))], workers=1))
    expected = solve_many(graph, links, [(scaled_by_hand(slow, 0.5), scaled_by_hand(fast, 4))], workers=1)
    for row, other in zip(rows, expected, strict=True):
        assert (row.device, row.server) == ("slow@0.5", "fast@4")
        assert dataclasses.replace(row, device="slow", server="fast") == other


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_bad_model_does_not_stop_the_batch(small_files, tmp_path):
    names = ["chain.onnx", "short.onnx", "unheard.onnx", "open.onnx", "no-node.onnx", "missing.onnx", "empty.onnx"]
    paths = [str(small_files / name) for name in names]
    table = solve_many(paths, ["3g", "wifi"], workers=1)
    assert [block.model for block in table.models] == paths
    good, *bad = table.models
    assert good.n_errors == 0
    assert table.n_errors == 2 * len(bad)
    assert len(table.errors) == len(bad)
    for block in bad:
        for row in block:
            assert row.error
            assert "\n" not in row.error
            assert not row.error.startswith("unexpected")
            assert (row.value, row.cut, row.optimal, row.method, row.n_layers) == (None,) * 5
    assert "--dim seq=128" in next(iter(bad[2])).error


def test_an_error_that_nobody_foresaw_is_one_of_its_model(graphs, monkeypatch):
    from partition.batch import solve

    def fail(model, settings):
        if model.name == "two":
            raise RuntimeError("from another library")
        return price(model, settings)

    monkeypatch.setattr(solve, "price", fail)
    models = [BatchModel(graphs["chain"], name=name) for name in ("one", "two", "three")]
    table = solve_many(models, "wifi", workers=1)
    assert [row.error for row in table] == [None, "unexpected RuntimeError: from another library", None]


def test_timings_of_another_model_are_an_error_of_their_pair(graphs):
    chain, other = graphs["chain"], graphs["attention"]
    mine, foreign = timings_of(chain, 0.01, "mine"), timings_of(other, 0.01, "foreign")
    pairs = [(mine, "xeon-server"), (foreign, "xeon-server"), (mine, foreign)]
    rows = list(solve_many([chain], ["wifi", "3g"], pairs, workers=1))
    assert [row.error is None for row in rows] == [True, True, False, False, False, False]
    assert "another model" in rows[2].error
    assert check_row(rows[0], partition(chain, "wifi", device=mine))


def test_an_input_that_is_kept_is_not_an_output_on_the_server():
    through = model([node("Tanh", "x", "y")], {"x": (1, 4)}, [value("y", [1, 4]), value("x", [1, 4])])
    rows = list(solve_many([through], ["wifi", "3g"], output_on="server", keep_inputs=True, workers=1))
    with pytest.raises(InputError) as refused:
        partition(through, "wifi", output_on="server", keep_inputs=True)
    assert [row.error for row in rows] == [str(refused.value)] * 2


def test_what_no_placement_obeys_is_an_error_of_its_rows(graphs, monkeypatch):
    from partition.batch import pricing

    def nowhere(bridge, layers):
        # A stateless server cannot be asked twice: device, server, device, server.
        names = list(bridge.layers)
        return bridge.latency.with_costs(
            compute=np.array(
                [[np.inf, 0.0] if name in names[1::2] else [0.0, np.inf] for name in names] + [[0, np.inf]] * 2
            )
        )

    monkeypatch.setattr(pricing.Bridge, "pinned_to_device", nowhere)
    rows = list(solve_many(graphs["chain"], ["wifi", "3g"], keep_inputs=True, workers=1))
    assert all(row.error and row.value is None for row in rows)
    assert len({row.error for row in rows}) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"links": []}, "links is empty"),
        ({"links": ["fast"]}, "fast"),
        ({"links": 5j}, "links is 5j"),
        ({"machines": []}, "machines is empty"),
        ({"machines": "raspberry-pi-4"}, "give pairs"),
        ({"machines": ["raspberry-pi-4"]}, "no pair"),
        ({"machines": [("abacus", "xeon-server")]}, "abacus"),
        ({"objective": "speed"}, "objective 'speed' is unknown"),
        ({"output_on": "cloud"}, "output_on 'cloud' is unknown"),
        ({"granularity": "block"}, "granularity 'block' is unknown"),
        ({"keep_inputs": 1}, "keep_inputs is 1"),
        ({"max_server_visits": 0}, "max_server_visits is 0"),
        ({"dims": 4}, "dims is 4"),
        ({"radio": "4g"}, "only objective 'energy' uses"),
        ({"radio": "tin can", "objective": "energy"}, "tin can"),
        ({"workers": 0}, "workers is 0"),
        ({"progress": 3}, "progress is 3"),
        ({"models": []}, "no model"),
        ({"models": [3]}, "3 is no model"),
    ],
)
def test_arguments_that_no_row_could_be_solved_with(graphs, changed, said):
    given = {"models": graphs["chain"], "links": ["wifi"], "machines": [SHIPPED], "workers": 1} | changed
    with pytest.raises(InputError, match=said):
        solve_each(**given)


def test_energy_needs_power(graphs):
    pair = (machine(power=None, name="weak"), "xeon-server")
    with pytest.raises(InputError, match="the power of the device 'weak'"):
        solve_many(graphs["chain"], "wifi", [pair], objective="energy", workers=1)
    with pytest.raises(InputError, match="speed is 0"):
        ScaledMachine("xeon-server", 0)


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_are_found(small_files, graphs):
    everything = sorted(str(path) for path in small_files.glob("*.onnx"))
    assert [one.name for one in find_models(small_files)] == everything
    assert [one.name for one in find_models(str(small_files / "*.onnx"))] == everything
    twice = [small_files / "chain.onnx", small_files]
    assert len(find_models(twice)) == len(everything)
    assert find_models(twice)[0].name == str(small_files / "chain.onnx")
    assert find_models("missing.onnx")[0].name == "missing.onnx"
    assert find_models(graphs["chain"])[0].name == graphs["chain"].graph["name"]
    assert find_models(relu_chain())[0].name == "small"
    with pytest.raises(InputError, match="no file fits the pattern"):
        find_models(str(small_files / "*.tflite"))


def test_a_folder_without_models(tmp_path):
    with pytest.raises(InputError, match=r"holds no file \*.onnx"):
        find_models(tmp_path)


def test_dims_count_for_the_models_that_have_them(small_files):
    paths = [small_files / "chain.onnx", small_files / "open.onnx"]
    table = solve_many(paths, "wifi", dims={"seq": 16}, workers=1)
    assert table.n_errors == 0
    assert any("batch of input 'x'" in note for note in table.models[1].notes)
    own = BatchModel(small_files / "open.onnx", {"seq": 16}, "own")
    assert next(iter(solve_many(own, "wifi", workers=1))).value == next(iter(table.models[1])).value


def open_net(name="open"):
    return model([node("Relu", "x", "y", "r")], {"x": ("batch", 4)}, ["y"], {}, name=name)


def test_a_dimension_that_no_model_has(graphs):
    for models in (open_net(), [open_net(), graphs["chain"]]):
        blocks = solve_each(models, "wifi", dims={"bacth": 8}, workers=1)
        next(blocks)
        with pytest.raises(InputError, match="dims has 'bacth', and no model has"):
            list(blocks)
    # One model that has it is enough, and one that cannot be loaded may have it.
    assert solve_many([open_net(), graphs["chain"]], "wifi", dims={"batch": 8}, workers=1).n_errors == 0
    assert solve_many([open_net(), "missing.onnx"], "wifi", dims={"bacth": 8}, workers=1).n_errors == 1


def test_dims_beside_a_graph_are_those_that_it_was_loaded_with():
    graph = graph_io.load_graph(open_net(), dims={"batch": 2})
    row = next(iter(solve_many(graph, "wifi", dims={"batch": 2}, workers=1)))
    assert check_row(row, partition(graph, "wifi"))
    for models, dims in ((graph, {"batch": 8}), (graph, {"x.0": 8}), (BatchModel(graph, {"batch": 2}), None)):
        row = next(iter(solve_many(models, "wifi", dims=dims, workers=1)))
        assert "pass them to load_graph" in row.error


def test_a_speed_at_which_times_overflow_is_an_error_of_its_pair(graphs):
    slow = [
        (ScaledMachine("raspberry-pi-4", 1e-320), "xeon-server"),
        ("raspberry-pi-4", ScaledMachine(SHIPPED[1], 0.5)),
    ]
    rows = list(solve_many(graphs["chain"], "wifi", slow, workers=1))
    assert "sums of such times overflow; its speed is 9.99989e-321: give a greater one" in rows[0].error
    assert rows[1].error is None


# --- workers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for length in range(2, 7):
        onnx.save(relu_chain(length, (1, 512)), folder / f"chain-{length}.onnx")
    (folder / "bad.onnx").write_text("not a model\n", encoding="utf-8")
    return folder


def test_workers_give_what_one_process_gives(model_files):
    seen = []
    options = {"links": ["3g", "wifi"], "machines": [SHIPPED]}
    expected = list(solve_many(model_files, workers=1, **options))
    table = solve_many(model_files, workers=2, progress=lambda done, total: seen.append((done, total)), **options)
    assert list(table) == expected
    assert seen == [(done, 6) for done in range(1, 7)]
    # No setting and no workers is this process.
    assert list(solve_many(model_files, **options)) == expected


def test_without_joblib_this_process_does_it(model_files, monkeypatch):
    from partition.batch import solve

    monkeypatch.setattr(solve, "find_spec", lambda name: None)
    assert len(list(solve_many(model_files, "wifi"))) == 6
    with pytest.raises(InputError, match="needs the package joblib"):
        solve_each(model_files, "wifi", workers=2)


def test_joblib_with_one_job_hands_out_each_block_at_once(model_files, monkeypatch):
    from partition.batch import solve

    solved, plain = [], solve.solve_model
    monkeypatch.setattr(solve, "solve_model", lambda one, settings: solved.append(one.name) or plain(one, settings))
    for given, block in enumerate(solve_each(model_files, "wifi"), start=1):
        assert len(solved) == given
        assert solved[-1] == block.model


def test_workers_wait_for_the_first_of_a_window(model_files, monkeypatch):
    """Large files come last here: no more is solved ahead than the window holds."""
    import joblib

    from partition.batch import solve

    monkeypatch.setattr(solve, "_MODELS_OF_A_WORKER", 1)
    monkeypatch.setattr(solve, "_ROWS_AT_ONCE", 1)
    solved, plain = [], solve.solve_model
    monkeypatch.setattr(solve, "solve_model", lambda one, settings: solved.append(one.name) or plain(one, settings))
    with joblib.parallel_config(backend="threading", n_jobs=2):
        blocks = solve_each(model_files, "wifi")
    # What joblib was set to when it was called counts.
    names = [one.name for one in find_models(model_files)]
    found = []
    for given, block in enumerate(blocks):
        found.append(block.model)
        assert set(solved) <= set(names[: given // 2 * 2 + 2])
    assert found == names


def test_a_batch_that_is_given_up_ends_its_workers(model_files):
    blocks = solve_each(model_files, "wifi", workers=2)
    next(blocks)
    blocks.close()
    assert len(list(solve_each(model_files, "wifi", workers=2))) == 6


def test_a_dask_cluster_by_joblib(model_files):
    distributed = pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    import joblib

    options = {"links": ["3g", "wifi"], "machines": [SHIPPED]}
    expected = list(solve_many(model_files, workers=1, **options))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert list(solve_many(model_files, **options)) == expected


def test_a_backend_that_hands_out_nothing_before_its_end(model_files):
    """As Ray's does: all results come at once, in order."""
    import joblib

    expected = list(solve_many(model_files, "wifi", workers=1))
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Forking a process with threads is what this backend does, and Python warns of it.
        assert list(solve_many(model_files, "wifi")) == expected


# --- tables and files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(graphs, small_files):
    models = [graphs["squeezenet"], small_files / "short.onnx", graphs["attention"]]
    return solve_many(models, ["3g", "wifi", "1Gbps"], [SHIPPED, ("raspberry-pi-5", ScaledMachine("gpu-server", 2))])


def test_a_table(table):
    assert len(table) == 18
    assert repr(table) == "BatchTable(3 models, 18 rows, 6 with errors)"
    assert "6 rows, 6 with errors" in repr(table.models[1])
    columns = table.columns()
    assert tuple(columns) == COLUMNS
    assert all(len(values) == 18 for values in columns.values())
    assert [row.cut for row in table] == columns["cut"]
    assert columns["device"][:6] == ["raspberry-pi-4"] * 3 + ["raspberry-pi-5"] * 3
    assert columns["link"][:3] == ["3g", "wifi", "custom"]
    assert columns["value"][6:12] == [None] * 6


def plain(row):
    return dataclasses.asdict(row) | {"cut": None if row.cut is None else list(row.cut)}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_files_hold_the_rows(table, tmp_path, ending):
    if ending == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / f"rows{ending}"
    assert list(batch_files.write_rows(path, table.models)) == list(table.models)
    assert entries(tmp_path) == [path.name]
    expected = [plain(row) for row in table]
    if ending == ".parquet":
        assert parquet.read_table(path).to_pylist() == expected
    elif ending == ".jsonl":
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == expected
    else:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["model"] for row in rows] == [row["model"] for row in expected]
        for row, other in zip(rows, expected, strict=True):
            for name in FLOATS:
                assert row[name] == "" if other[name] is None else float(row[name]) == other[name]
            assert (json.loads(row["cut"]) if row["cut"] else None) == other["cut"]
            assert row["optimal"] == {None: "", True: "true", False: "false"}[other["optimal"]]
            assert row["error"] == (other["error"] or "")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_nothing_stays_of_a_file_that_is_not_finished(table, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / f"rows{ending}"
    path.write_text("before\n", encoding="utf-8")

    def failing():
        yield table.models[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(batch_files.write_rows(path, failing()))
    rows = batch_files.write_rows(path, table.models)
    next(rows)
    with contextlib.suppress(RuntimeError):
        rows.close()
    gc.collect()
    assert entries(tmp_path) == [path.name]
    assert path.read_text(encoding="utf-8") == "before\n"


def test_files_that_cannot_be_written(table, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"ending '\.xlsx'; give one of \.csv, \.jsonl, \.parquet"):
        batch_files.write_rows(tmp_path / "rows.xlsx", table.models)
    with pytest.raises(InputError, match="cannot write"):
        list(batch_files.write_rows(tmp_path / "none" / "rows.csv", table.models))

    def lost():
        yield table.models[0]
        raise ConnectionError("the scheduler has gone")

    with pytest.raises(ConnectionError, match="the scheduler has gone"):
        list(batch_files.write_rows(tmp_path / "rows.csv", lost()))
    assert entries(tmp_path) == []
    monkeypatch.setattr(batch_files, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package pyarrow"):
        batch_files.check_ending(tmp_path / "rows.parquet")
