"""The loading benchmark, on small cases: the rows, the bars and the generated model. No timing is asserted."""

import onnx
import pytest

from benchmarks import loading
from benchmarks.settings import Settings
from graph_io import load_graph


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "SIZES", (40, 80, 320))
        return loading.run(Settings(models=("squeezenet",), repetitions=1))


def test_every_model_and_size_has_a_row(result):
    light = [row for row in result.rows if row["kind"] == "light"]
    assert [(row["model"], row["weights"]) for row in light] == [("squeezenet", "random"), ("squeezenet", "as shipped")]
    for row in light:
        assert row["ratio"] == row["graph_s"] / row["baseline_s"]
        assert row["nodes"] >= 66
    assert light[0]["file_bytes"] > light[1]["file_bytes"]  # shipped weights are made by ConstantOfShape
    generated = [row for row in result.rows if row["kind"] == "generated"]
    assert [(row["nodes"], row["granularity"]) for row in generated] == [
        (size, granularity) for size in (40, 80, 320) for granularity in ("layer", "node")
    ]
    for row in result.rows:
        assert 0 < row["graph_least_s"] <= row["graph_s"] <= row["graph_most_s"]
    assert len(result.rows) == len(light) + len(generated)


def test_what_is_promised_has_a_bar(result):
    assert [(bar.limit, bar.better) for bar in result.bars] == [(limit, "lower") for limit in (2.0, 10.0, 5.2, 5.2)]
    assert result.bars[0].value == result.rows[0]["ratio"]  # the models as shipped have no limit
    assert len({bar.name for bar in result.bars}) == len(result.bars)
    assert len(result.tables) == 3


def test_a_quick_run_leaves_out_the_largest(monkeypatch):
    monkeypatch.setattr(loading, "QUICK_SIZES", (40, 80))
    result = loading.run(Settings(quick=True, models=("squeezenet",), repetitions=1))
    assert [bar.limit for bar in result.bars] == [2.0]


def test_the_generated_model_is_valid_and_has_branches():
    model = loading.branching_model(40)
    onnx.checker.check_model(model, full_check=True)
    graph = load_graph(model, granularity="node")
    assert len(graph) == 40
    assert max(degree for _, degree in graph.out_degree()) == 2
    assert 1 < len(load_graph(model)) < 40


@pytest.mark.parametrize("n_nodes", [0, -8, 12])
def test_only_whole_blocks_are_made(n_nodes):
    with pytest.raises(ValueError, match="use a multiple of 8"):
        loading.branching_model(n_nodes)
