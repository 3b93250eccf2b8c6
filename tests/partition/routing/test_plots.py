"""The plots of routing: that they are drawn, say what is in them, and refuse what they cannot be."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from partition.emulation.profile import RateProfile
from partition.errors import InputError
from partition.routing import plots
from partition.routing.nominal import nominal_routes
from partition.routing.plots import check_plot_file, plot_mapping, plot_routes, plot_savings
from partition.routing.profiles import round_trips
from partition.routing.simulator import compare, simulate
from tests.partition.conftest import entries
from tests.partition.routing.test_simulator import four, two, words


def texts(path):
    """Return what is written in an SVG."""
    return {element.text for element in ElementTree.parse(path).iter() if element.text and element.text.strip()}


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="install the extra 'plot'"):
        check_plot_file(tmp_path / "plot.svg")
    with pytest.raises(InputError, match="install the extra 'plot'"):
        plot_routes(nominal_routes(two()), tmp_path / "plot.svg")
    assert entries(tmp_path) == []


def test_an_ending_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"'\.gif' is unknown"):
        plot_routes(nominal_routes(two()), tmp_path / "plot.gif")


class TestDrawn:
    @pytest.fixture(autouse=True)
    def _needs_matplotlib(self):
        pytest.importorskip("matplotlib")

    @pytest.mark.parametrize("objective", ["time", "energy", 0.5])
    def test_routes_and_their_break_evens(self, tmp_path, objective):
        found = nominal_routes(four(), objective=objective)
        plot_routes(found, tmp_path / "plot.svg")
        written = texts(tmp_path / "plot.svg")
        assert {"end", "gateway", "cloud 1", "cloud 2", "chosen", "length"} <= written
        assert {str(one) for one in found.break_evens} <= written
        before = (tmp_path / "plot.svg").read_bytes()
        plot_routes(found, tmp_path / "plot.svg")
        assert (tmp_path / "plot.svg").read_bytes() == before

    def test_one_length_and_other_formats(self, tmp_path):
        plot_routes(nominal_routes(two(), (7, 7)), tmp_path / "plot.png")
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
        plot_routes(nominal_routes(two()), tmp_path / "plot.pdf")
        assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")

    def test_savings(self, tmp_path):
        network, lengths = two(), words(60)
        rtts_s = [0.01, 0.2, 0.4]
        found = [compare(network, lengths, links=round_trips(network, "end", "cloud", [one])) for one in rtts_s]
        plot_savings(rtts_s, found, tmp_path / "plot.svg")
        assert {"fixed:end", "fixed:cloud", "routed", "oracle", "round trip, ms"} <= texts(tmp_path / "plot.svg")
        with pytest.raises(InputError, match="no fixed policy"):
            plot_savings(rtts_s, [[row[2]] for row in found], tmp_path / "plot.svg")

    def test_the_mapping_over_time(self, tmp_path, monkeypatch):
        monkeypatch.setattr(plots, "_MOST_POINTS", 60)
        network, lengths = two(), words(100)
        links = round_trips(network, "end", "cloud", [0.1, 0.3])
        plot_mapping(network, simulate(network, lengths, links=links), tmp_path / "plot.svg", links=links)
        assert {"end", "cloud", "round trip, ms", "share, %", "length (1 of 2 shown)"} <= texts(tmp_path / "plot.svg")
        trace = RateProfile((0.0, 2.0), (1e6, 1e4), 5.0)
        links = {("end", "cloud"): trace}
        simulation = simulate(network, lengths[:50], links=links)
        plot_mapping(network, simulation, tmp_path / "plot.svg", links=links)
        assert "rate, Mbit/s" in texts(tmp_path / "plot.svg")
        plot_mapping(network, simulate(network, np.array([3])), tmp_path / "plot.svg")
        assert "round trip, ms" not in texts(tmp_path / "plot.svg")

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            plot_routes(nominal_routes(two()), tmp_path / "none" / "plot.svg")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["route", "two.json"],
            ["simulate", "two.json", "-l", "constant:length=9", "--count", "50", "--rtt", "9ms,90ms"],
            ["simulate", "two.json", "-l", "constant:length=9", "--count", "50", "--rtt-sweep", "9ms..90ms:3"],
        ],
    )
    def test_commands_draw(self, command, tmp_path, arguments):
        two().save(tmp_path / "two.json")
        done = command(*arguments, "--plot", "plot.svg")
        assert (done.code, done.err) == (0, "")
        assert "written: plot.svg" in done.out
        assert entries(tmp_path) == ["plot.svg", "two.json"]
        again = command(*arguments, "--plot", "plot.svg")
        assert again.code == 2
        assert "exists" in again.err
        assert command(*arguments, "--plot", "plot.svg", "--force").code == 0

    def test_savings_need_a_fixed_policy(self, command, tmp_path):
        two().save(tmp_path / "two.json")
        options = ["--rtt-sweep", "9ms..90ms:3", "--policy", "routed", "--plot", "plot.svg"]
        done = command("simulate", "two.json", "-l", "constant:length=9", *options)
        assert done.code == 2
        assert "add --policy fixed:MACHINE" in done.err
