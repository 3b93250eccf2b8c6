"""The benchmark of running plans: its sections, rows, bars and arguments, on next to nothing. No timing is asserted."""

import json
import math
import os
from functools import cache
from importlib import import_module

import pytest

from benchmarks.__main__ import main
from benchmarks.runtime import SECTIONS
from tests.scale import scaled

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="it keeps processes on processors")

# What each section is cut down to; in the quick tests some are left out.
SMALL = {
    "links": {"LINKS": 1, "QUICK_RUNS": 2},
    "stream": {"LINKS": 1, "QUICK_REQUESTS": 4},
    "clients": {"FEW": (1, 2), "MANY": 3, "QUICK_S": 0.3},
    "faults": {"FAULT_S": 0.2, "QUICK_RECOVERY_S": 0.4, "QUICK_REQUESTS": 20},
    "traces": {"LENGTHS_S": (10.0,), "QUICK_SECONDS": 1.0},
    "load": {"QUICK_CLIENTS": (0, 1), "QUICK_REQUESTS": 4},
}
USED = tuple(SMALL)[: scaled(2, 6)]
# Names of bars begin with the section's.
BARS = {
    "links": ("median error of the latency", "median error of the compute"),
    "stream": ("rate over the predicted bottleneck's, worst plan that sends",),
    "clients": (
        "goodput of 64 over the best of 1 to 8",
        "requests neither answered nor turned away",
        "growth of memory, bytes a minute",
    ),
    "faults": (
        "wrong or missing answers",
        "most time lost by a request over the time-out",
        "share of requests remote again after 5 s",
    ),
    "traces": (
        "adaptive over oracle, steps of 10 s",
        "adaptive over the better simple one, steps of 10 s",
        "distinct cuts in use in the setting with most",
    ),
    "load": tuple(f"adaptive over the better simple one, {count} clients" for count in (0, 1)),
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    target = folder / "runtime.json"
    setting = import_module("benchmarks.runtime.setting")
    # Measured once: that alone takes seconds.
    measured = cache(setting.measured_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting, "BETWEEN_RUNS_S", 0.0)
        for name in USED:
            module = import_module(SECTIONS[name])
            patch.setattr(module, "measured_model", measured)
            for constant, value in SMALL[name].items():
                if constant == "LINKS":
                    value = dict(list(module.LINKS.items())[-value:])
                patch.setattr(module, constant, value)
        options = ["--only", ",".join(USED), "--cache", str(folder)]
        assert main(["runtime", "--quick", "--json", str(target), *options]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def rows_of(result, section):
    return [row for row in result["rows"] if row.get("section") == section]


def test_every_section_is_known_here_and_is_a_module():
    assert set(SMALL) == set(BARS) == set(SECTIONS)
    assert all(callable(import_module(module).measure) for module in SECTIONS.values())


def test_its_bars(result):
    names = [bar["name"] for bar in result["bars"]]
    possible = [f"{section}: {what}" for section in USED for what in BARS[section]]
    # A plan that sends nothing has no error to show.
    assert set(names) <= set(possible)
    assert {name for name in possible if not name.startswith(("links", "stream"))} <= set(names)
    assert len(names) == len(set(names))
    for bar in result["bars"]:
        assert math.isfinite(bar["value"])
        assert bar["better"] in ("lower", "higher")


def test_its_rows(result):
    assert result["benchmark"] == "runtime"
    assert {row.get("section") for row in result["rows"]} == {None, *USED}
    (plan,) = rows_of(result, "links")
    assert {"network", "link", "cut", "predicted_s", "latency_s", "compute_error"} <= set(plan)
    assert plan["predicted_s"] > 0
    assert plan["latency_error"] == pytest.approx(plan["predicted_s"] / plan["latency_s"] - 1)
    (stream,) = rows_of(result, "stream")
    assert stream["predicted_rate_per_s"] > 0
    assert stream["rate_per_s"] > 0


@pytest.mark.skipif(len(USED) < len(SMALL), reason="in the full tests alone")
def test_rows_of_what_takes_longer(result):
    clients = rows_of(result, "clients")
    assert [row["clients"] for row in clients] == [1, 2, 3]
    assert all(row["failed"] == 0 for row in clients)
    faults = rows_of(result, "faults")
    assert len({row["fault"] for row in faults}) == len(faults) == 7
    assert all(row["requests"] > 0 for row in faults)
    policies = {"adaptive", "oracle", "all on the device", "all on the server"}
    assert {row["policy"] for row in rows_of(result, "traces")} == policies
    assert {(row["clients"], row["policy"]) for row in rows_of(result, "load")} == {
        (count, policy) for count in (0, 1) for policy in policies - {"oracle"}
    }


def test_a_section_that_is_none(capsys):
    with pytest.raises(SystemExit) as left:
        main(["runtime", "--only", "fast"])
    assert left.value.code == 2
    assert "section 'fast' does not exist; the sections are links" in capsys.readouterr().err
