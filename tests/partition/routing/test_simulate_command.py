"""The command ``simulate``: what it draws, prints and refuses."""

import json

import numpy as np
import pytest

from partition.errors import InputError
from partition.routing.length_draws import draw_lengths, read_lengths
from partition.routing.profiles import round_trips
from partition.routing.simulator import policies_of
from partition.routing.simulator import simulate as simulate_policy
from tests.partition.conftest import entries
from tests.partition.routing.test_simulator import four, two

GAMMA = "gamma:mean=11,deviation=4"


@pytest.fixture
def files(tmp_path):
    two(noise=0.05).save(tmp_path / "two.json")
    four().save(tmp_path / "four.json")
    (tmp_path / "lengths.txt").write_text("# of a data set\n3 40, 12\n\n7  # last\n", encoding="utf-8")
    (tmp_path / "trace.txt").write_text("0 8\n4 0.1\n9 2\n", encoding="utf-8")
    return tmp_path


def test_a_table_of_all_policies(command, files):
    done = command("simulate", "two.json", "-l", GAMMA, "--count", "300")
    assert (done.code, done.err) == (0, "")
    for policy in policies_of(two()):
        assert policy in done.out
    assert "300 inputs of length" in done.out
    assert "loss: over the oracle" in done.out
    assert "+0.00%" in done.out


def test_json_is_what_the_library_says(command, files):
    options = ["--rtt", "100ms,200ms, 300ms", "--seed", "3", "--count", "400", "--stale", "5s", "--json"]
    content = json.loads(command("simulate", "two.json", "-l", GAMMA, *options).out)
    network = two(noise=0.05)
    lengths = draw_lengths(GAMMA, 400, seed=3, least=1, most=80)
    links = round_trips(network, "end", "cloud", [0.1, 0.2, 0.3])
    assert [one["policy"] for one in content["policies"]] == list(policies_of(network))
    for one in content["policies"]:
        expected = simulate_policy(network, lengths, policy=one["policy"], links=links, seed=3, stale_s=5.0)
        assert one["total_s"] == pytest.approx(expected.total_s, rel=1e-12)
        assert one["shares"] == expected.shares
        assert one["joules"] == pytest.approx(expected.total_joules)
    assert content["policies"][-1]["over_oracle"] == 0.0
    best = max(one["saved_over_best_fixed"] for one in content["policies"] if one["policy"].startswith("fixed:"))
    assert best == 0.0
    assert content["mean_length"] == pytest.approx(11, abs=1)


def test_a_file_of_lengths_a_trace_and_arrivals(command, files):
    options = ["--trace", "trace.txt", "--every", "1s", "--policy", "routed", "--no-noise", "--json"]
    content = json.loads(command("simulate", "two.json", "-l", "lengths.txt", *options).out)
    assert content["inputs"] == 4
    assert content["mean_length"] == 62 / 4
    assert [one["policy"] for one in content["policies"]] == ["routed"]
    assert content["policies"][0]["makespan_s"] >= 3
    assert content["policies"][0]["over_oracle"] is None
    done = command("simulate", "two.json", "-l", "lengths.txt", "--count", "2", "--stale", "never")
    assert "2 inputs of length 3 to 40" in done.out


def test_a_sweep_over_round_trips(command, files):
    options = ["--rtt-sweep", "10ms..400ms:3", "--link", "end:gateway", "--count", "100"]
    done = command("simulate", "four.json", "-l", GAMMA, *options)
    assert (done.code, done.err) == (0, "")
    assert "205 ms" in done.out
    content = json.loads(command("simulate", "four.json", "-l", GAMMA, *options, "--json").out)
    assert sorted({one["rtt_s"] for one in content["policies"]}) == pytest.approx([0.01, 0.205, 0.4])
    energy = json.loads(command("simulate", "four.json", "-l", GAMMA, *options, "--objective", "energy", "--json").out)
    assert energy["objective"] == "energy"
    assert min(one["over_oracle"] for one in energy["policies"]) > -0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.json", "-l", GAMMA], "missing.json"),
        (["two.json"], "lengths"),
        (["two.json", "-l", "none.txt"], "'none.txt' cannot be read"),
        (["two.json", "-l", "bad.txt"], "line 2: got '0'"),
        (["two.json", "-l", "empty.txt"], "holds no length"),
        (["two.json", "-l", "gamma"], "mean"),
        (["two.json", "-l", "gamma:mean=11"], "deviation is missing"),
        (["two.json", "-l", "gamma:mean=-1,deviation=4"], "above 0"),
        (["two.json", "-l", "gamma:mean=nan,deviation=4"], "above 0"),
        (["two.json", "-l", "gamma:mean=5000,deviation=4"], "hardly any"),
        (["two.json", "-l", "gamma:mean=1e-9,deviation=1e9"], "hardly any"),
        (["two.json", "-l", "uniform:least=9,most=2"], "least is above most"),
        (["two.json", "-l", "constant:length=2.5"], "whole number"),
        (["two.json", "-l", GAMMA, "--count", "0"], "--count is 0"),
        (["two.json", "-l", "lengths.txt", "--count", "5"], "holds 4 lengths"),
        (["two.json", "-l", GAMMA, "--seed", "-1"], "--seed is -1"),
        (["two.json", "-l", GAMMA, "--policy", "best"], "best"),
        (["two.json", "-l", GAMMA, "--policy", "fixed:moon"], "moon"),
        (["two.json", "-l", GAMMA, "-p", "routed", "-p", "routed"], "twice"),
        (["two.json", "-l", GAMMA, "--rtt", "40"], "no unit"),
        (["two.json", "-l", GAMMA, "--rtt", ""], "--rtt ''"),
        (["two.json", "-l", GAMMA, "--rtt", "40ms", "--trace", "trace.txt"], "give one of them"),
        (["two.json", "-l", GAMMA, "--trace", "lengths.txt"], "trace 'lengths.txt', line 2"),
        (["two.json", "-l", GAMMA, "--back-trace", "trace.txt"], "give that, too"),
        (["two.json", "-l", GAMMA, "--rtt-sweep", "10ms..400ms"], "LOW..HIGH:N"),
        (["two.json", "-l", GAMMA, "--rtt-sweep", "40ms..10ms:3"], "lower round trip first"),
        (["two.json", "-l", GAMMA, "--link", "end:cloud"], "give --rtt"),
        (["two.json", "-l", GAMMA, "--link", "end:moon", "--rtt", "9ms"], "no such link"),
        (["four.json", "-l", GAMMA, "--rtt", "9ms"], "say with --link"),
        (["two.json", "-l", GAMMA, "--stale", "0s"], "stale_s is 0.0"),
        (["two.json", "-l", GAMMA, "--every", "soon"], "--every"),
        (["two.json", "-l", GAMMA, "--objective", "2"], "weight"),
        (["two.json", "-l", GAMMA, "--plot", "x.txt"], "'.txt' is unknown"),
    ],
)
def test_what_is_refused(command, files, arguments, said):
    (files / "bad.txt").write_text("3\n0\n", encoding="utf-8")
    (files / "empty.txt").write_text("# nothing\n", encoding="utf-8")
    before = entries(files)
    done = command("simulate", *arguments)
    assert done.code == 2, done.out + done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("dnn-partition: error: ")
    assert said in done.err
    assert done.out == ""
    assert entries(files) == before


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        (GAMMA, 11, 4),
        ("lognormal:mean=50, deviation=20", 50, 20),
        ("uniform:least=10,most=30", 20, 6.055),
        ("constant:length=7", 7, 0),
    ],
)
def test_draws_have_their_mean_and_deviation(text, mean, deviation):
    found = draw_lengths(text, 100_000, seed=1, least=1, most=500)
    assert found.mean() == pytest.approx(mean, rel=0.01)
    assert found.std() == pytest.approx(deviation, rel=0.02)
    assert np.array_equal(found, draw_lengths(text, 100_000, seed=1, least=1, most=500))


def test_draws_outside_of_the_range_are_drawn_again():
    found = draw_lengths("gamma:mean=11,deviation=8", 20_000, seed=0, least=5, most=20)
    assert (found.min(), found.max()) == (5, 20)
    # Nothing piles up at the ends, as it would if they were moved there.
    counts = np.bincount(found)
    assert counts[20] < counts[10]
    with pytest.raises(InputError, match="name no distribution"):
        draw_lengths("normal:mean=3,deviation=1", 3, seed=0, least=1, most=9)


def test_lengths_are_read(tmp_path):
    (tmp_path / "lengths").write_text("1,2\n 3 # 4\n", encoding="utf-8")
    assert read_lengths(tmp_path / "lengths").tolist() == [1, 2, 3]
    (tmp_path / "lengths").write_bytes(b"\xff\xfe1")
    with pytest.raises(InputError, match="UTF-8"):
        read_lengths(tmp_path / "lengths")
