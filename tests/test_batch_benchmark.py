"""The benchmark of batches: what it solves for, its rows and its bars, on next to nothing. No timing is asserted."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.batch import SECTIONS, core, grid
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    target = folder / "batch.json"
    options = ["--models", "mnist,resnet18", "--repetitions", "1", "--cache", str(folder / "cache")]
    assert main(["batch", "--quick", "--json", str(target), *options]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def test_what_is_solved_for():
    assert len(grid.PAIRS) == 10
    assert len(grid.links(Settings())) == 1000
    assert grid.links(Settings()) == grid.links(Settings())
    assert grid.networks(Settings()) == tuple(NETWORKS)
    assert set(grid.QUICK) <= set(NETWORKS)
    assert grid.REFERENCE in grid.QUICK
    names = [(pair.device.name, pair.server.name) for pair in grid.batch_settings(Settings(quick=True)).pairs]
    assert len(set(names)) == 10


def test_its_rows(result):
    assert set(SECTIONS) == {"core", "workers"}
    rows = [row for row in result["rows"] if row["kind"] == "network"]
    assert [row["network"] for row in rows] == ["mnist", "resnet18"]
    for row in rows:
        assert row["problems"] == row["proven"] == 1000
        assert row["errors"] == 0
        assert row["largest_relative_difference"] <= 1e-9
        assert row["numeric_per_s"] == pytest.approx(row["problems"] / row["numeric_s"])
    (total,) = [row for row in result["rows"] if row["kind"] == "total"]
    assert total["problems"] == 2000
    assert total["per_s"] < total["numeric_per_s"]
    assert [row["workers"] for row in result["rows"] if row["kind"] == "workers"] == [1, 2]


def test_its_bars(result):
    limits = {bar["name"]: bar["limit"] for bar in result["bars"]}
    assert limits == {"rows with errors or without a proof": 0.0, "two workers against one, median of 1": 1.7}
    rows = [row for row in result["rows"] if row["kind"] == "network"]
    rows[1]["network"] = grid.REFERENCE
    (bar,) = [bar for bar in core._section(rows).bars if grid.REFERENCE in bar.name]
    assert (bar.limit, bar.better) == (50_000.0, "higher")


def test_a_row_that_is_not_the_plan_stops_it(monkeypatch):
    wrong = [Settings(quick=True, models=("mnist",), repetitions=1)]
    solve = core.solve_rows

    def off(priced, batch):
        found = solve(priced, batch)
        found.floats["value"][:] *= 1.001
        return found

    monkeypatch.setattr(core, "solve_rows", off)
    with pytest.raises(core.DifferentPlansError, match="mnist"):
        core.measure(*wrong)


def test_unknown_networks_are_refused(capsys):
    with pytest.raises(SystemExit) as left:
        main(["batch", "--models", "alexnot"])
    assert left.value.code == 2
    assert "network 'alexnot' does not exist" in capsys.readouterr().err
