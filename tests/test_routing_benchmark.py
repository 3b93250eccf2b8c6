"""The benchmark of routing: its sections, rows and bars, on next to nothing. No timing is asserted."""

import json
import math
import os
from importlib import import_module

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.routing import SECTIONS
from benchmarks.routing.sequences import DATA_SETS, draw_lengths
from benchmarks.routing.setups import END, LINES_MS, SERVER, two_machines, two_servers
from partition.routing.router import Router
from partition.routing.sweep import SweepEffort
from tests.scale import scaled

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="it keeps processes on processors")

TINY = SweepEffort(lengths=8, layer_lengths=3, fewest_rounds=1, most_rounds=1, budget_s=0.1)
# What each section is cut down to; in the quick tests those that build networks are left out.
SMALL = {
    "published": {"QUICK_INPUTS": 300},
    "decision": {"QUICK_DECISIONS": 100},
    "fits": {"QUICK_NETWORKS": ("imdb-lstm", "encoder-small")},
    "oracle": {"QUICK_INPUTS": 300},
    "breakeven": {"QUICK_RUNS": 2, "QUICK_FIRST_RUNS": 2},
    "lengths": {"QUICK_RANGES": {"cove-300": (4, 6)}},
    "live": {"QUICK_INPUTS": 8, "QUICK_ROUNDS": 1},
}
USED = tuple(SMALL)[: scaled(2, 7)]
# Names of bars begin with the section's; these are how many it has.
BARS = {"published": 8, "decision": 2, "fits": 3, "oracle": 3, "breakeven": 1, "lengths": 1, "live": 2}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("routing")
    target = folder / "routing.json"
    measured = import_module("benchmarks.routing.measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "QUICK", TINY)
        for name in USED:
            for constant, value in SMALL[name].items():
                patch.setattr(import_module(SECTIONS[name]), constant, value)
        options = ["--only", ",".join(USED), "--cache", str(folder)]
        assert main(["routing", "--quick", "--json", str(target), *options]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def rows_of(result, section):
    return [row for row in result["rows"] if row.get("section") == section]


def test_every_section_is_known_here_and_is_a_module():
    assert set(SMALL) == set(BARS) == set(SECTIONS)
    assert all(callable(import_module(module).measure) for module in SECTIONS.values())


def test_its_bars(result):
    names = [bar["name"] for bar in result["bars"]]
    assert {name: sum(one.startswith(f"{name}: ") for one in names) for name in USED} == {
        name: BARS[name] for name in USED
    }
    assert len(names) == len(set(names))
    for bar in result["bars"]:
        assert math.isfinite(bar["value"])
        assert bar["better"] in ("lower", "higher")


def test_its_published_rows(result):
    rows = rows_of(result, "published")
    experiments = [row for row in rows if row["kind"] == "experiment"]
    assert len(experiments) == 15
    for row in experiments:
        assert set(row["published"]) <= set(row["reduction"])
        assert sum(row["shares"].values()) == pytest.approx(1.0)
        # No policy is better than one that knows everything.
        assert row["over_oracle"] >= -1e-9
        assert row["over_best_fixed"] == pytest.approx(-min(row["reduction"].values()) / 100)
    sweep = [row for row in rows if row["kind"] == "sweep"]
    assert len(sweep) == 44
    low, high = sweep[0], sweep[10]
    assert (low["rtt_ms"], high["rtt_ms"]) == (10.0, 400.0)
    assert low["shares"][SERVER] > 0.99
    assert high["shares"][END] > 0.9


@pytest.mark.skipif(len(USED) < len(SMALL), reason="in the full tests alone")
def test_rows_of_what_is_measured(result):
    assert {row["network"]: row["order"] for row in rows_of(result, "fits")} == {
        "imdb-lstm": "linear",
        "encoder-small": "quadratic",
    }
    assert {row["machines"] for row in rows_of(result, "oracle")} == {2, 3, 4}
    assert all(row["over_oracle"]["routed"] >= -1e-9 for row in rows_of(result, "oracle"))
    (row,) = rows_of(result, "breakeven")
    assert row["error"] == pytest.approx(row["predicted"] / row["measured"] - 1)
    assert all(row["different"] == 0 for row in rows_of(result, "lengths"))
    assert all(row["over_single"] >= -1e-9 and row["over_whole"] >= -1e-9 for row in rows_of(result, "lengths"))


def test_the_sequences_follow_the_published_means():
    for name, data_set in DATA_SETS.items():
        lengths = draw_lengths(name, 20_000)
        assert lengths.mean() == pytest.approx(data_set.mean, rel=0.03)
        assert lengths.min() >= 1
        assert np.array_equal(lengths, draw_lengths(name, 20_000))


def test_the_parameters_give_the_published_break_even_and_noise():
    router = Router(two_machines("300 units", (150.0,)).network, END)
    assert [router.decide(length).destination for length in (6, 10)] == [END, SERVER]
    # The ratio of the slopes that follows from the published errors and coefficients of determination.
    ratio = math.sqrt((9.32e-6 / (1 - 0.999)) / (7.69e-8 / (1 - 0.991)))
    assert LINES_MS[END]["300 units"][1] / LINES_MS[SERVER]["300 units"][1] == pytest.approx(ratio, rel=0.02)
    made = two_servers("200 units")
    assert made.network.machines[0].power is not None
    assert set(made.links) == {(one.source, one.target) for one in made.network.links}


def test_a_section_that_is_none(capsys):
    with pytest.raises(SystemExit) as left:
        main(["routing", "--only", "fast"])
    assert left.value.code == 2
    assert "section 'fast' does not exist; the sections are published" in capsys.readouterr().err
