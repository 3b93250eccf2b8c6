"""Networks of machines: what they refuse, their file, NetworkX, and their routes."""

import json
import math

import networkx
import pytest

from partition.errors import InputError
from partition.latency.machines import Power
from partition.routing.length_models import LengthModel
from partition.routing.lengths_file import load_lengths
from partition.routing.network import MachineNetwork, RoutedLink, RoutedMachine, both_ways, load_network
from tests.partition.routing.length_files import lengths_for, lstm_net

SIZES = LengthModel((20.0, 4.0, 0.0), 1, 80)
LINE = LengthModel((0.002, 0.019, 0.0), 1, 80, ratios=(0.97, 1.0, 1.04))
POWER = Power(compute_watts=5.0, idle_watts=2.0, send_watts=3.5, receive_watts=2.75)


def network(**changes):
    fields = {
        "machines": (
            RoutedMachine("end", LINE, POWER),
            RoutedMachine("gateway", LINE),
            RoutedMachine("cloud", LINE, None, 0.5),
        ),
        "links": (*both_ways("end", "gateway", "wifi"), *both_ways("gateway", "cloud", "4g")),
        "end_node": "end",
        "input_bytes": SIZES,
        "output_bytes": SIZES,
    }
    return MachineNetwork(**(fields | changes))


def test_its_file_comes_back(tmp_path):
    path = tmp_path / "network.json"
    network().save(path)
    assert load_network(path) == network()
    with pytest.raises(InputError, match="exists"):
        network().save(path)
    network(end_node="gateway").save(path, overwrite=True)
    assert load_network(path).end_node == "gateway"


def test_it_comes_back_from_networkx():
    graph = network().to_networkx()
    assert graph.edges["end", "gateway"]["delay_s"] == 0.01
    assert MachineNetwork.from_networkx(graph) == network()
    undirected = networkx.Graph(end_node="a", input_bytes=SIZES, output_bytes=SIZES)
    undirected.add_node("a", latency=LINE)
    undirected.add_node("b", latency=LINE)
    undirected.add_edge("a", "b", bits_per_s=1e6, delay_s=0.01)
    assert len(MachineNetwork.from_networkx(undirected).links) == 2
    del undirected.nodes["b"]["latency"]
    with pytest.raises(InputError, match="lacks the attribute 'latency'"):
        MachineNetwork.from_networkx(undirected)


def test_links_both_ways():
    up, down = both_ways("a", "b", "3g")
    assert (up.source, up.bits_per_s, up.delay_s) == ("a", 1.1e6, 0.1)
    assert (down.source, down.bits_per_s, down.delay_s) == ("b", 4.6e6, 0.1)


def test_routes_come_by_hops():
    assert network().routes() == ((0,), (0, 1), (0, 1, 2))
    ring = network(links=(*network().links, *both_ways("end", "cloud", "3g")))
    assert ring.routes() == ((0,), (0, 1), (0, 2), (0, 1, 2), (0, 2, 1))
    assert network(links=()).routes() == ((0,),)


def test_too_many_routes_are_refused():
    names = [f"m{k}" for k in range(10)]
    links = [RoutedLink(one, other, 1e6, 0.0) for one in names for other in names if one != other]
    full = MachineNetwork(tuple(RoutedMachine(name, LINE) for name in names), tuple(links), "m0", SIZES, SIZES)
    with pytest.raises(InputError, match="more than 10000 routes"):
        full.routes()


def test_how_it_prints():
    assert repr(network()) == "<MachineNetwork of end, gateway, cloud; inputs arise on 'end'>"
    assert "end: 2 + 19 N ms (end node)" in str(network())
    assert "cloud: 1 + 9.5 N ms" in str(network())
    assert "end -> gateway: 18.88 Mbit/s, delay 10 ms" in str(network())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machines": ()}, "0 machines"),
        ({"machines": ("end",)}, "tuple of RoutedMachine"),
        ({"links": ("wifi",)}, "tuple of RoutedLink"),
        ({"machines": (RoutedMachine("end", LINE),) * 2, "links": ()}, "two machines have the name 'end'"),
        ({"machines": tuple(RoutedMachine(str(k), LINE) for k in range(53)), "links": ()}, "53 machines"),
        ({"end_node": "moon"}, "no machine of the network has the name 'moon'"),
        ({"links": (RoutedLink("end", "moon", 1e6, 0.0),)}, "'moon'"),
        ({"links": (RoutedLink("end", "cloud", 1e6, 0.0),)}, "no way back"),
        ({"links": both_ways("end", "cloud", "4g") * 2}, "there twice"),
        ({"input_bytes": 5}, "input_bytes"),
        ({"output_bytes": LengthModel((math.nan, 0.0, 0.0), 1, 2)}, "output_bytes"),
    ],
)
def test_networks_that_cannot_be_used(changes, message):
    with pytest.raises(InputError, match=message):
        network(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RoutedMachine("", LINE), "name"),
        (lambda: RoutedMachine("a", 5), "LengthModel"),
        (lambda: RoutedMachine("a", LengthModel((math.nan, 0.0, 0.0), 1, 9)), "coefficients"),
        (lambda: RoutedMachine("a", LengthModel((-1.0, 0.0, 0.0), 1, 9)), "takes no time"),
        (lambda: RoutedMachine("a", LINE, "wifi"), "power"),
        (lambda: RoutedMachine("a", LINE, Power(math.nan, 1.0, 1.0, 1.0)), "compute_watts is nan"),
        (lambda: RoutedMachine("a", LINE, Power(1.0, -1.0, 1.0, 1.0)), "idle_watts is -1.0"),
        (lambda: RoutedMachine("a", LINE, None, 0.0), "slowdown"),
        (lambda: RoutedMachine("a", LINE, None, math.inf), "slowdown"),
        (lambda: RoutedLink("a", "a", 1e6, 0.0), "two different machines"),
        (lambda: RoutedLink("a", "", 1e6, 0.0), "two different machines"),
        (lambda: RoutedLink("a", "b", 0.0, 0.0), "bits_per_s"),
        (lambda: RoutedLink("a", "b", math.nan, 0.0), "bits_per_s"),
        (lambda: RoutedLink("a", "b", 1e-320, 0.0), "bits_per_s"),
        (lambda: RoutedLink("a", "b", "4g", 0.0), "bits_per_s"),
        (lambda: RoutedLink("a", "b", 1e6, -1.0), "delay_s"),
        (lambda: RoutedLink("a", "b", 1e6, math.nan), "delay_s"),
    ],
)
def test_parts_that_cannot_be_used(make, message):
    with pytest.raises(InputError, match=message):
        make()


def changed(**fields):
    content = json.loads(json.dumps(network().to_json()))
    for name, value in fields.items():
        place = content
        *path, last = name.split("__")
        for step in path:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "dnn-partition/plan"}, "format"),
        ({"version": 2}, "version 2"),
        ({"end_node": "moon"}, "'moon'"),
        ({"more": 1}, "unknown field 'more'"),
        ({"machines__0__latency": None}, "lengths"),
        ({"machines__0__lengths": "x.json"}, "lengths"),
        ({"machines__0__slowdown": -1}, "slowdown"),
        ({"machines__0__power__idle_watts": "2"}, "idle_watts"),
        ({"machines__0__latency__coefficients": [1, 2]}, "coefficients"),
        ({"links__0__bits_per_s": 0}, "bits_per_s"),
        ({"links__0__delay_s": -1}, "delay_s"),
        ({"links__0__target": "moon"}, "'moon'"),
        ({"input_bytes": None}, "has no lengths file"),
    ],
)
def test_files_that_cannot_be_used(fields, message, tmp_path):
    path = tmp_path / "network.json"
    path.write_text(json.dumps(changed(**fields)))
    with pytest.raises(InputError, match=message) as caught:
        load_network(path)
    assert "network.json" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot read the network file"):
        load_network(tmp_path / "none.json")
    path = tmp_path / "network.json"
    path.write_text(json.dumps(changed(machines__0__latency=None, machines__0__lengths="none.json")))
    with pytest.raises(InputError, match="cannot read the lengths file"):
        load_network(path)


def test_machines_may_name_lengths_files(tmp_path):
    proto = lstm_net()
    for name in ("end", "cloud"):
        lengths_for(proto, name).save(tmp_path / f"{name}.lengths.json")
    content = network().to_json() | {"input_bytes": None, "output_bytes": None}
    for machine in (content["machines"][0], content["machines"][2]):
        machine["latency"] = None
        machine["lengths"] = f"{machine['name']}.lengths.json"
    path = tmp_path / "network.json"
    path.write_text(json.dumps(content))
    loaded, file = load_network(path), load_lengths(tmp_path / "end.lengths.json")
    assert loaded.machines[0].latency == file.latency
    assert loaded.machines[1].latency == LINE
    assert (loaded.input_bytes, loaded.output_bytes) == (file.input_bytes, file.output_bytes)
    # Saved anew it needs no other files.
    loaded.save(tmp_path / "alone.json")
    assert load_network(tmp_path / "alone.json") == loaded
    lengths_for(lstm_net(hidden=9), "cloud").save(tmp_path / "cloud.lengths.json", overwrite=True)
    with pytest.raises(InputError, match="different models"):
        load_network(path)
