"""The benchmark of codecs: its sections, rows, bars and arguments, on next to nothing. No timing is asserted."""

import json
import math
import os
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import main
from benchmarks.codecs import SECTIONS
from benchmarks.digits import Shape, trained_network
from graph_io.codecs import CODECS
from partition.latency import measure
from partition.latency.profiling import Repetition
from tests.scale import scaled

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="it keeps processes on processors")

HAS_DATA = find_spec("sklearn") is not None and find_spec("threadpoolctl") is not None
USED = ("networks", "trained", "throughput")[: scaled(2, 3)]
NETWORK = "mnist"
CHOICES = ["joint", "none", *CODECS]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    target = folder / "codecs.json"
    module = {name: import_module(path) for name, path in SECTIONS.items()}
    small = {
        "networks": {"BANDWIDTHS_MBIT_S": (5,), "QUICK_TENSORS": 2},
        "trained": {
            "BANDWIDTHS_MBIT_S": (5,),
            "NARROW": Shape((1, 4, 4, 8, 8, 16, 16)),
            "QUICK_EPOCHS": 1,
            "QUICK_CALIBRATION": 3,
            "QUICK_TIMED": 1,
            # All other images would be held out, and run for each codec.
            "trained_network": partial(trained_network, n_train=1700),
        },
        "throughput": {"SOURCES": {"relu": NETWORK}},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("benchmarks.codecs.setting"), "BETWEEN_RUNS_S", 0.0)
        patch.setattr(measure, "MEASUREMENT", Repetition(fewest=3, most=3, budget_s=0.1))
        for section, constants in small.items():
            for name, value in constants.items():
                patch.setattr(module[section], name, value)
        options = ["--only", ",".join(USED), "--models", NETWORK, "--repetitions", "1"]
        assert main(["codecs", "--quick", "--json", str(target), *options]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def rows_of(result, section):
    return [row for row in result["rows"] if row.get("section") == section]


def test_every_section_is_a_module():
    assert set(SECTIONS) >= {"throughput", "networks", "trained"}
    assert all(callable(import_module(module).measure) for module in SECTIONS.values())


def test_its_bars(result):
    names = [bar["name"] for bar in result["bars"]]
    assert "networks: joint choice over the best single codec, worst" in names
    assert ("trained: accuracy of the whole network on held-out data" in names) == HAS_DATA
    assert len(names) == len(set(names))
    for bar in result["bars"]:
        assert math.isfinite(bar["value"])
        assert bar["better"] in ("lower", "higher")
    # What is chosen among all codecs is never slower than what is chosen among some of them.
    assert all(
        bar["holds"] for bar in result["bars"] if bar["name"].endswith("joint choice over the best single codec, worst")
    )


def test_its_plans(result):
    assert result["benchmark"] == "codecs"
    for section in ("networks", *(["trained"] if HAS_DATA else [])):
        rows = rows_of(result, section)
        assert [row["codec"] for row in rows] == CHOICES
        for row in rows:
            assert row["latency_s"] > 0
            assert row["loss"] <= 0.02
            assert (row["ratio"] > 1) == bool(row["sent"])


@pytest.mark.skipif(not HAS_DATA, reason="it trains on scikit-learn's digits (extra bench)")
def test_what_it_trains(result):
    for row in rows_of(result, "trained"):
        assert 0 <= row["accuracy"] <= 1
        assert 0 <= row["agreement"] <= 1
        assert row["predicted_s"] > 0


@pytest.mark.skipif("throughput" not in USED, reason="in the full tests alone")
def test_its_throughput(result):
    rows = [row for row in rows_of(result, "throughput") if row["kind"] == "codec"]
    assert [row["codec"] for row in rows] == list(CODECS)
    # On (1, 500) values one scale for each of 500 channels is more than they are.
    assert all((row["ratio"] > 1) == ("channel" not in row["codec"]) for row in rows)


def test_a_section_that_is_none(capsys):
    with pytest.raises(SystemExit) as left:
        main(["codecs", "--only", "fast"])
    assert left.value.code == 2
    assert "section 'fast' does not exist; the sections are" in capsys.readouterr().err
