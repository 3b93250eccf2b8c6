"""The benchmarks of the papers: published tables, baselines against enumeration, and each section on small networks."""

import json
from itertools import pairwise, product

import numpy as np
import pytest

import solvers
from benchmarks.__main__ import main
from benchmarks.papers.baselines import NAMES, compare, contracted, dads_cut
from benchmarks.papers.dads import SECTIONS as DADS_SECTIONS
from benchmarks.papers.dads import SETTING as DADS
from benchmarks.papers.networks import bridge, factors, network
from benchmarks.papers.neurosurgeon import SETTING as NEUROSURGEON
from benchmarks.papers.neurosurgeon.choices import published
from benchmarks.papers.setting import DEVICES
from benchmarks.papers.wang import SECTIONS as WANG_SECTIONS
from benchmarks.papers.wang import SETTING as WANG
from benchmarks.papers.wang.zoo import HALVED
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from tests.scale import scaled

INF = float("inf")


def run(tmp_path, *arguments):
    target = tmp_path / "result.json"
    assert main([*arguments, "--quick", "--json", str(target)]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def random_problem(generator):
    n = 7
    tensors = []
    for producer in range(n - 1):
        later = np.arange(producer + 1, n)
        readers = generator.choice(later, size=min(len(later), int(generator.integers(1, 4))), replace=False)
        tensors.append((producer, float(generator.uniform(0, 3)), sorted(readers.tolist())))
    compute = generator.uniform(0, 3, size=(n, 2))
    compute[0, 1] = INF
    return solvers.Problem.build(compute, tensors, per_byte=[[0, 1], [1, 0]], max_server_visits=None)


@pytest.mark.parametrize("setting", [NEUROSURGEON, WANG, DADS], ids=lambda one: one.paper)
def test_settings_name_networks_of_the_zoo(setting):
    assert set(setting.networks) <= set(NETWORKS)
    assert set(setting.quick) <= set(setting.networks)
    assert set(setting.sides) == {*DEVICES, "server"}
    assert set(setting.radios) == set(setting.links)
    assert all(link.rtt_s == 0 for link in setting.links.values())


def test_the_published_tables_are_whole():
    found = [
        choice
        for objective, device, link in product(("latency", "energy"), DEVICES, NEUROSURGEON.links)
        for choice in published(objective, device, link).values()
    ]
    assert len(found) == 2 * 6 * 8
    assert set(found) == {"input", "argmax", "pool5", "fc3"}
    assert found.count("pool5") == 2


def test_factors_meet_what_they_were_fitted_to():
    settings = Settings()
    scale = factors(NEUROSURGEON, settings)
    for name, side in NEUROSURGEON.sides.items():
        assert scale[name] * sum(network("alexnet", settings).seconds(side.shape).values()) == pytest.approx(
            side.anchor_s
        )
    assert factors(WANG, settings)["CPU"] / factors(WANG, settings)["GPU"] == pytest.approx(382 / 81)


@pytest.mark.parametrize("seed", range(scaled(30, 300)))
def test_dads_cut_is_least_where_the_way_back_is_free(seed):
    problem = random_problem(np.random.default_rng(seed))
    placement, capacity = dads_cut(problem)
    free_back = problem.with_costs(per_byte=[[0, 1], [0, 0]])
    least = min(solvers.evaluate(free_back, one) for one in product((0, 1), repeat=problem.n_layers))
    assert solvers.evaluate(free_back, placement) == pytest.approx(least)
    assert capacity == pytest.approx(least)
    assert solvers.evaluate(problem, placement) >= solvers.solve(problem).value - 1e-12


@pytest.mark.parametrize("name", ["dqn", "vae", "resnet18"])
def test_whole_blocks_cost_the_same_contracted(name):
    settings = Settings()
    net = network(name, settings)
    priced = bridge(net, WANG, settings, device="CPU", link="4G")
    small, group = contracted(net, priced, priced.latency)
    assert small.n_layers < priced.latency.n_layers or name == "dqn"
    generator = np.random.default_rng(0)
    for _ in range(20):
        sides = generator.integers(0, 2, size=small.n_layers)
        assert solvers.evaluate(priced.latency, sides[group]) == pytest.approx(solvers.evaluate(small, sides))
    compared = compare(net, priced)
    assert set(compared.values) == {"optimum", *NAMES}
    assert compared.violations == 0
    assert compared.proven
    assert compared.values["whole blocks"] <= compared.values["chain only"] + 1e-12


def test_neurosurgeon(tmp_path):
    result = run(tmp_path, "neurosurgeon", "--models", "mnist,senna-pos")
    assert all(bar["holds"] for bar in result["bars"])
    choices = [row for row in result["rows"] if row["kind"] == "choice"]
    assert len(choices) == 2 * 2 * 6
    assert all(row["agrees"] for row in choices if row["network"] == "senna-pos")
    assert all(row["published_over_chosen"] >= 1 - 1e-9 for row in choices)
    gains = [row for row in result["rows"] if row["kind"] == "gain"]
    assert len(gains) == 2 * 2 * 6
    mixes = [row for row in result["rows"] if row["kind"] == "data centre"]
    assert all(row["server_s_split"] <= row["server_s_all"] for row in mixes)


def test_wang(tmp_path):
    result = run(tmp_path, "wang", "--models", "vae,dqn")
    assert all(bar["holds"] for bar in result["bars"])
    splits = [row for row in result["rows"] if row["kind"] == "zoo"]
    assert {row["link"] for row in splits} >= {"3g", "4g", "wifi"}
    assert all(row["ok"] for row in splits)
    halved = [row for row in splits if row["link"] == HALVED]
    assert [row["network"] for row in halved] == ["dqn"]
    assert all(0 < row["layers_on_device"] < row["n_layers"] for row in halved)
    paying = [row for row in result["rows"] if row["kind"] == "blocks" and row["gain"] > 1.01]
    assert {row["network"] for row in paying} == {"vae"}


def test_dads(tmp_path):
    result = run(tmp_path, "dads", "--models", "resnet18")
    assert all(bar["holds"] for bar in result["bars"])
    segments = [row for row in result["rows"] if row["kind"] == "segment"]
    for device in {row["device"] for row in segments}:
        own = [row for row in segments if row["device"] == device]
        assert own[0]["from_mbit_per_s"] == pytest.approx(0.1)
        assert own[-1]["to_mbit_per_s"] == pytest.approx(100)
        assert all(one["to_mbit_per_s"] == pytest.approx(other["from_mbit_per_s"]) for one, other in pairwise(own))
    heavy = [row for row in result["rows"] if row["kind"] == "heavy"]
    assert all(row["least_sum"] <= 3 for row in heavy)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wang", "--models", "squeezenet"], "network 'squeezenet' does not exist"),
        (["dads", "--only", "zoo"], f"section 'zoo' does not exist; the sections are {', '.join(DADS_SECTIONS)}"),
        (["wang", "--only", "heavy"], f"the sections are {', '.join(WANG_SECTIONS)}"),
        (["neurosurgeon", "--machine", "no-such.json"], "--machine: unknown machine"),
    ],
)
def test_bad_arguments(capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
