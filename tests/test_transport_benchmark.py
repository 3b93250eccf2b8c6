"""The section ``transport`` of the benchmark of codecs, on a small network and one link. No timing is asserted."""

import json
import os
from importlib import import_module

import pytest

from benchmarks.__main__ import main
from partition.latency import measure
from partition.latency.profiling import Repetition
from tests.scale import scaled

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="it keeps processes on processors")

NETWORK = "mnist"
CODECS = ("none", "int8")[: scaled(1, 2)]


def test_its_rows_and_bars(tmp_path, monkeypatch):
    pytest.importorskip("zstandard")
    section = import_module("benchmarks.codecs.transport")
    small = {"LEAST_BYTES": 1024, "QUICK_RATES_MBIT_S": (5,), "CODECS": CODECS, "WARM_UP": 1}
    for name, value in small.items():
        monkeypatch.setattr(section, name, value)
    monkeypatch.setattr(import_module("benchmarks.codecs.setting"), "BETWEEN_RUNS_S", 0.0)
    monkeypatch.setattr(measure, "MEASUREMENT", Repetition(fewest=3, most=3, budget_s=0.1))
    target = tmp_path / "codecs.json"
    options = ["--only", "transport", "--models", NETWORK, "--repetitions", "2"]
    assert main(["codecs", "--quick", "--json", str(target), *options]) == 0
    result = json.loads(target.read_text(encoding="utf-8"))
    rows = [row for row in result["rows"] if row.get("section") == "transport"]
    assert [row["codec"] for row in rows] == list(CODECS)
    for row in rows:
        assert row["is_equal"] is True
        assert 0 < row["packed_bytes"] <= row["plain_bytes"]
        assert row["gain"] > 0
        assert 0 <= row["share_packed"] <= 1
    names = [bar["name"] for bar in result["bars"]]
    assert len(names) == len(set(names)) == 4
    assert result["bars"][0]["value"] == 0.0
