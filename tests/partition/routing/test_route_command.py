"""The command ``route``, and the best routes of a network as it is described."""

import json

import numpy as np
import pytest

from partition.errors import InputError
from partition.routing.length_models import LengthModel
from partition.routing.network import MachineNetwork, RoutedMachine, both_ways
from partition.routing.nominal import nominal_routes
from partition.routing.router import Router
from partition.routing.simulator import simulate
from tests.partition.conftest import entries
from tests.partition.routing.length_files import lengths_for, lstm_net
from tests.partition.routing.test_simulator import POWER, four, two


@pytest.fixture
def network_file(tmp_path):
    def write(network, name="network.json"):
        network.save(tmp_path / name)
        return name

    return write


@pytest.mark.parametrize("network", [two(), two(rtt_s=0.05), four()], ids=["two", "quick", "four"])
@pytest.mark.parametrize("objective", ["time", "energy", 0.4])
def test_the_routers_begin_with_these_routes(network, objective):
    found = nominal_routes(network, objective=objective)
    router = Router(network, network.end_node, objective=objective, clock=lambda: 0.0)
    for length in range(1, 81):
        decision, one = router.decide(length), found.at(length)
        assert decision.destination == one.machine
        assert decision.expected_s == pytest.approx(one.seconds[0], rel=1e-12)
    assert found.ranges[0].least == 1
    assert found.ranges[-1].most == 80
    assert all(before.most + 1 == after.least for before, after in zip(found.ranges, found.ranges[1:], strict=False))
    assert found.break_evens == tuple(one.least for one in found.ranges[1:])


def test_every_route_takes_what_the_simulation_says():
    network = four()
    found = nominal_routes(network, (5, 7))
    for name in network.names:
        own = [one for one in found.curves if one.machine == name]
        # A fixed policy takes the route that is nominally best for all inputs together.
        best = min(own, key=lambda one: one.seconds.sum())
        simulated = simulate(network, [5, 6, 7], policy=f"fixed:{name}", noise=False)
        assert best.seconds == pytest.approx(simulated.taken_s, rel=1e-9)
        assert best.joules == pytest.approx(simulated.energy_joules, rel=1e-9)


def test_the_table(command, network_file):
    done = command("route", network_file(two()))
    assert (done.code, done.err) == (0, "")
    assert "break-evens (the first length of the next range): 12" in done.out
    assert "1 to 11" in done.out
    assert "12 to 80" in done.out
    assert "end -> cloud" in done.out


def test_json_and_one_length(command, network_file):
    name = network_file(four())
    content = json.loads(command("route", name, "--json").out)
    assert content["end_node"] == "end"
    assert [one["least"] for one in content["ranges"]][1:] == content["break_evens"]
    assert content["ranges"][0] | {"seconds": 0, "joules": 0} == {
        "least": 1,
        "most": content["break_evens"][0] - 1,
        "machine": "end",
        "route": ["end"],
        "seconds": 0,
        "joules": 0,
        "extrapolated": False,
    }
    one = json.loads(command("route", name, "--length", "70", "--json").out)
    assert one["ranges"][0]["machine"] == "cloud 1"
    assert one["break_evens"] == []
    done = command("route", name, "--length", "70", "--objective", "0.5")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("length 70 runs on cloud 1\n")
    assert "chosen" in done.out


def test_lengths_beyond_what_was_measured_say_so(command, network_file):
    done = command("route", network_file(two()), "--lengths", "70..100")
    assert (done.code, done.err) == (0, "")
    assert "extrapolated" in done.out
    assert nominal_routes(two(), (70, 80)).ranges[0].extrapolated is False
    assert nominal_routes(two(), (70, 81)).ranges[0].extrapolated is True


def test_a_network_that_names_lengths_files(command, tmp_path):
    lengths_for(lstm_net(), "here", most=64).save(tmp_path / "here.json")
    curve = LengthModel((1e-5, 1e-6, 0.0), 1, 64)
    network = MachineNetwork(
        (RoutedMachine("here", curve, POWER), RoutedMachine("there", curve)),
        both_ways("here", "there", "wifi"),
        "here",
        curve,
        curve,
    )
    content = network.to_json()
    content["machines"][0] |= {"lengths": "here.json", "latency": None}
    content |= {"input_bytes": None, "output_bytes": None}
    (tmp_path / "network.json").write_text(json.dumps(content), encoding="utf-8")
    found = json.loads(command("route", "network.json", "--json").out)
    assert found["lengths"] == [1, 64]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.json"], "missing.json"),
        (["text.json"], "text.json"),
        (["network.json", "--objective", "speed"], "--objective 'speed' is unknown"),
        (["network.json", "--objective", "1.5"], "weight"),
        (["network.json", "--objective", "nan"], "weight"),
        (["network.json", "--length", "0"], "give 1 or more"),
        (["network.json", "--length", "3", "--lengths", "1..9"], "give one of the two"),
        (["network.json", "--lengths", "9"], "LEAST..MOST"),
        (["network.json", "--lengths", "9..1"], "reversed"),
        (["network.json", "--lengths", "0..9"], "1 or more"),
        (["network.json", "--lengths", "1..9999999"], "more than a million"),
        (["network.json", "--plot", "p.gif"], "'.gif' is unknown"),
        (["powerless.json", "--objective", "energy"], "needs the power"),
        ([], "Missing argument"),
    ],
)
def test_what_is_refused(command, network_file, tmp_path, arguments, said):
    network_file(two())
    powerless = two()
    machines = tuple(RoutedMachine(one.name, one.latency) for one in powerless.machines)
    network_file(
        MachineNetwork(machines, powerless.links, "end", powerless.input_bytes, powerless.output_bytes),
        "powerless.json",
    )
    (tmp_path / "text.json").write_text("no network\n", encoding="utf-8")
    before = entries(tmp_path)
    done = command("route", *arguments)
    assert done.code == 2, done.out + done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("dnn-partition: error: ")
    assert said in done.err
    assert done.out == ""
    assert entries(tmp_path) == before


def test_ranges_that_are_none():
    with pytest.raises(InputError, match="not among 3 to 9"):
        nominal_routes(two(), (3, 9)).at(10)
    assert nominal_routes(two(), (3, 3)).ranges[0].least == 3
    assert str(nominal_routes(two())).startswith("1 to 11: end, ")
    assert np.array_equal(nominal_routes(two(), (3, 5)).lengths, [3, 4, 5])
