"""Workload files: what is read, written and refused, and the command that splits them."""

import json
import math

import numpy as np
import pytest

from partition import InputError
from partition.workload import Workload, WorkloadEdge, WorkloadNode, load_workload
from partition.workload_placement import split_workload
from solvers import InfeasibleError, ProblemError
from tests import naive_throughput as naive
from tests.partition.conftest import entries
from tests.scale import scaled


def small():
    """Return the content of a file that uses every field: a training step of three layers in two colour classes."""
    forward = [
        {"id": 5, "cpuLatency": 8, "fpgaLatency": 1.5, "supportedOnFpga": 1, "size": 10, "isBackwardNode": 0},
        {"id": 2, "cpuLatency": 9.0, "fpgaLatency": 2, "supportedOnFpga": True, "size": 20.5, "isBackwardNode": False},
        {"id": 7, "cpuLatency": 1.0, "fpgaLatency": 4, "supportedOnFpga": 0, "size": 0, "isBackwardNode": 0},
    ]
    forward[0] |= {"name": "conv", "colorClass": 1}
    forward[1] |= {"name": "node2", "layerId": 3, "colorClass": 4}
    backward = [
        {"id": 9, "cpuLatency": 7.0, "fpgaLatency": 1.0, "supportedOnFpga": 1, "size": 10, "isBackwardNode": 1},
        {"id": 8, "cpuLatency": 9.0, "fpgaLatency": 2.0, "supportedOnFpga": 1, "size": 20.5, "isBackwardNode": True},
    ]
    backward[0] |= {"colorClass": 1}
    backward[1] |= {"colorClass": 4}
    edges = [
        {"sourceId": 5, "destId": 2, "cost": 0.25, "size": 100},
        {"sourceId": 5, "destId": 7, "cost": 0.25, "size": 50.0},
        {"sourceId": 2, "destId": 7, "cost": 0.5},
        {"sourceId": 7, "destId": 8, "cost": 0.125},
        {"sourceId": 8, "destId": 9, "cost": 0},
    ]
    return {"maxSizePerFPGA": 64.0, "maxFPGAs": 2, "maxCPUs": 1, "nodes": forward + backward, "edges": edges}


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_every_field_is_read(tmp_path):
    workload = load_workload(write(tmp_path / "net.json", small()))
    assert (workload.name, workload.n_accelerators, workload.n_cpus) == ("net", 2, 1)
    assert workload.accelerator_memory_bytes == 64.0
    assert workload.nodes[0] == WorkloadNode(5, 8.0, 1.5, True, 10.0, False, 1, "conv", None)
    assert workload.nodes[1] == WorkloadNode(2, 9.0, 2.0, True, 20.5, False, 4, "node2", 3)
    assert workload.nodes[2] == WorkloadNode(7, 1.0, 4.0, False, 0.0)
    assert [node.label for node in workload.nodes[:3]] == ["node 5 (conv)", "node 2", "node 7"]
    assert [node.backward for node in workload.nodes] == [False, False, False, True, True]
    assert workload.edges[0] == WorkloadEdge(5, 2, 0.25, 100.0)
    assert workload.edges[2].size_bytes is None


def test_what_is_written_reads_the_same(tmp_path):
    workload = load_workload(write(tmp_path / "net.json", small()))
    workload.save(tmp_path / "net.json")
    assert load_workload(tmp_path / "net.json") == workload
    assert entries(tmp_path) == ["net.json"]
    with pytest.raises(InputError, match="cannot write"):
        workload.save(tmp_path / "missing" / "net.json")


def test_the_problem_means_what_the_file_says(tmp_path):
    problem = load_workload(write(tmp_path / "net.json", small())).problem()
    assert problem.compute.tolist() == [[1.5, 8], [2, 9], [math.inf, 1], [1, 7], [2, 9]]
    # One tensor a source, however many read it; CPUs pay nothing for transfers and have no limit on memory.
    assert problem.tensor_producer.tolist() == [0, 1, 2, 4]
    assert problem.consumer_layers.tolist() == [1, 2, 2, 4, 3]
    assert problem.receive.tolist() == [[0.25, 0], [0.5, 0], [0.125, 0], [0, 0]]
    assert problem.send.tolist() == problem.receive.tolist()
    assert problem.memory_limit_bytes.tolist() == [64, math.inf]
    assert problem.contiguous.tolist() == [True, True, True, False, False]
    assert problem.colocated == ((0, 3), (1, 4))
    assert problem.machine_counts.tolist() == [2, 1]


def test_it_is_split_as_enumeration_says(tmp_path):
    workload = load_workload(write(tmp_path / "net.json", small()))
    for accelerators, cpus in ((2, 1), (1, 1), (0, 1), (1, 2), (3, 1)):
        placement = split_workload(workload, accelerators=accelerators, cpus=cpus)
        expected = naive.optimum(workload.problem(accelerators=accelerators, cpus=cpus))
        assert placement.optimal
        assert placement.value == pytest.approx(expected, rel=1e-12)
        assert placement.bottleneck.load == placement.value
        assert len(placement.machines) == accelerators + cpus
        assert sorted(node for share in placement.machines for node in share.nodes) == [2, 5, 7, 8, 9]


def test_random_workloads_are_split_as_enumeration_says():
    rng = np.random.default_rng(33)
    for _ in range(scaled(40, 400)):
        n = int(rng.integers(2, 7))
        nodes = [
            WorkloadNode(
                id=int(v) * 3,
                cpu_time=float(rng.integers(1, 20)),
                accelerator_time=float(rng.integers(0, 5)),
                on_accelerator=bool(rng.random() < 0.85),
                memory_bytes=float(rng.integers(0, 5)),
                backward=bool(v > n // 2 and rng.random() < 0.5),
                color_class=int(rng.integers(0, 3)) if rng.random() < 0.4 else None,
            )
            for v in range(n)
        ]
        costs = rng.integers(0, 8, n) / 4
        edges = [WorkloadEdge(a * 3, b * 3, float(costs[a])) for b in range(n) for a in range(b) if rng.random() < 0.4]
        workload = Workload("random", tuple(nodes), tuple(edges), int(rng.integers(1, 3)), 1, 8.0)
        expected = naive.optimum(workload.problem())
        assert split_workload(workload).value == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_placement_is_written_and_printed(tmp_path):
    placement = split_workload(load_workload(write(tmp_path / "net.json", small())))
    placement.save(tmp_path / "placement.json")
    content = json.loads((tmp_path / "placement.json").read_text(encoding="utf-8"))
    assert content == placement.to_json()
    assert (content["format"], content["version"]) == ("dnn-partition/workload-placement", 1)
    shown = str(placement)
    assert "proven optimal (method down-sets), " in shown
    (marked,) = [line for line in shown.splitlines() if "bottleneck" in line]
    assert marked.split()[:2] == placement.bottleneck.machine.split()


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_path_is_split_as_well(tmp_path, kind):
    path = write(tmp_path / "net.json", small())
    placement = split_workload(kind(path), accelerators=1)
    assert placement == split_workload(load_workload(path), accelerators=1)
    for wrong in (None, 3, small()):
        with pytest.raises(InputError, match=r"give the path of a workload file"):
            split_workload(wrong)


def test_it_is_compared_with_one_accelerator(tmp_path):
    content = small()
    workload = load_workload(write(tmp_path / "net.json", content))
    alone = split_workload(workload)
    assert alone.one_accelerator is None  # node 7 is for CPUs only
    assert str(alone).endswith("rate: 1 / largest load; one accelerator alone: cannot hold or run everything")
    no_accelerator = split_workload(workload, accelerators=0)
    assert no_accelerator.one_accelerator is None
    assert "accelerator" not in str(no_accelerator)
    content["nodes"][2]["supportedOnFpga"] = 1
    fits = split_workload(load_workload(write(tmp_path / "net.json", content)), cpus=0)
    assert fits.one_accelerator == 1.5 + 2 + 4 + 1 + 2
    assert split_workload(tmp_path / "net.json", accelerators=1, cpus=0).value == fits.one_accelerator
    assert f"one accelerator alone: 10.5 ({10.5 / fits.value:.3g} times)" in str(fits)
    assert fits.to_json()["one_accelerator"] == 10.5
    content["maxSizePerFPGA"] = 10 + 20.5 + 0 + 10 + 20.5
    assert split_workload(write(tmp_path / "net.json", content)).one_accelerator == 10.5
    content["maxSizePerFPGA"] -= 0.5
    assert split_workload(write(tmp_path / "net.json", content)).one_accelerator is None


def test_a_workload_of_no_time_has_no_ratio():
    nothing = Workload("w", (WorkloadNode(1, 0.0, 0.0, True, 0.0),), (), 1, 0, 0.0)
    assert str(split_workload(nothing)).endswith("one accelerator alone: -")


def change(content, path, value):
    """Set, or with ... remove, what a path of keys leads to."""
    *before, last = path
    for key in before:
        content = content[key]
    if value is ...:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("maxFPGAs",), ..., "the field 'maxFPGAs' is missing"),
        (("maxFPGAs",), -1, "'maxFPGAs' is -1, expected a whole number"),
        (("maxCPUs",), 1.5, "'maxCPUs' is 1.5, expected a whole number"),
        (("maxSizePerFPGA",), "big", "'maxSizePerFPGA' is 'big'"),
        (("colour",), 1, "unknown field 'colour'"),
        (("nodes",), [], "there is no node"),
        (("nodes",), {}, "the field 'nodes' is {}, expected a list of objects"),
        (("nodes", 0, "id"), 2, "two nodes have the id 2"),
        (("nodes", 0, "id"), "5", "'nodes[0].id' is '5'"),
        (("nodes", 0, "id"), ..., "'nodes[0].id' is missing"),
        (("nodes", 1, "cpuLatency"), -1, "'nodes[1].cpuLatency' is -1"),
        (("nodes", 1, "fpgaLatency"), True, "'nodes[1].fpgaLatency' is True"),
        (("nodes", 1, "size"), -0.5, "'nodes[1].size' is -0.5"),
        (("nodes", 1, "supportedOnFpga"), 2, "'nodes[1].supportedOnFpga' is 2, expected true or false, or 1 or 0"),
        (("nodes", 1, "isBackwardNode"), None, "'nodes[1].isBackwardNode' is None"),
        (("nodes", 1, "colorClass"), "red", "'nodes[1].colorClass' is 'red'"),
        (("nodes", 1, "gpuLatency"), 3, "unknown field 'nodes[1].gpuLatency'"),
        (("edges", 0, "destId"), 6, "the edge from 5 to 6 names the node 6, which does not exist"),
        (("edges", 0, "sourceId"), 6, "the edge from 6 to 2 names the node 6, which does not exist"),
        (("edges", 1, "destId"), 2, "the edge from 5 to 2 is given twice"),
        (("edges", 1, "cost"), 0.5, "node 5 (conv) sends its one output at cost 0.25 to 2 and at cost 0.5 to 7"),
        (("edges", 1, "cost"), -1, "'edges[1].cost' is -1"),
        (("edges", 1, "size"), -1, "'edges[1].size' is -1"),
        (("edges", 1, "weight"), 1, "unknown field 'edges[1].weight'"),
        (("edges", 0, "destId"), 5, "a cycle leads through node 5 (conv) -> node 5 (conv)"),
        (("edges", 2, "destId"), 5, "a cycle leads through node"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, path, value, said):
    content = small()
    change(content, path, value)
    with pytest.raises(InputError) as refused:
        load_workload(write(tmp_path / "net.json", content))
    assert said in str(refused.value)
    assert "net.json" in str(refused.value)


def test_a_cycle_is_named_in_its_direction(tmp_path):
    content = small()
    content["edges"][2]["destId"] = 5
    with pytest.raises(InputError) as refused:
        load_workload(write(tmp_path / "net.json", content))
    said = str(refused.value)
    assert "node 5 (conv) -> node 2 -> node 5 (conv)" in said or "node 2 -> node 5 (conv) -> node 2" in said


def test_numbers_that_are_none(tmp_path):
    text = json.dumps(small())
    for bad in (text.replace("1.5", "NaN"), text.replace("0.25", "Infinity"), text[:-3], "[]", ""):
        (tmp_path / "net.json").write_text(bad, encoding="utf-8")
        with pytest.raises(InputError, match=r"net\.json"):
            load_workload(tmp_path / "net.json")
    with pytest.raises(InputError, match="cannot read the workload"):
        load_workload(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n_cpus": -1}, "n_cpus is -1"),
        ({"accelerator_memory_bytes": math.nan}, "the memory of an accelerator is nan"),
        ({"nodes": (WorkloadNode(1, math.nan, 1, True, 1),)}, "the time of node 1 on a CPU is nan"),
        ({"nodes": (WorkloadNode(1, 1, math.inf, True, 1),)}, "the time of node 1 on an accelerator is inf"),
        ({"nodes": (WorkloadNode(1, 1, 1, True, -1),)}, "the size of node 1 is -1"),
    ],
)
def test_workloads_that_are_none(fields, said):
    good = {
        "name": "w",
        "nodes": (WorkloadNode(1, 1.0, 1.0, True, 1.0),),
        "edges": (),
        "n_accelerators": 1,
        "n_cpus": 0,
        "accelerator_memory_bytes": 1.0,
    }
    assert split_workload(Workload(**good)).value == 1
    with pytest.raises(InputError, match=said):
        Workload(**good | fields)


def test_no_machine_infeasible_and_out_of_reach_are_three_errors(tmp_path):
    workload = load_workload(write(tmp_path / "net.json", small()))
    with pytest.raises(ProblemError, match="there is no machine; give at least one, with --accelerators or --cpus"):
        split_workload(workload, accelerators=0, cpus=0)
    with pytest.raises(ProblemError, match="there are -1 machines of kind 'accelerator'"):
        split_workload(workload, accelerators=-1)
    with pytest.raises(InfeasibleError, match="layer 'node 7' is allowed on no machine"):
        split_workload(workload, cpus=0)
    assert split_workload(workload, down_set_limit=2).method == "milp"


# --- the command ------------------------------------------------------------------------------------------------------


def refused(done, *named):
    assert (done.code, done.out) == (2, ""), done.out + done.err
    assert done.err.startswith("dnn-partition: error: ")
    assert done.err.count("\n") == 1
    for text in named:
        assert text in done.err


def test_split_prints_and_writes(command, tmp_path):
    write(tmp_path / "net[red].json", small())
    split = ("split", "net[red].json", "--objective", "throughput")
    done = command(*split, "-o", "placement.json")
    assert (done.code, done.err) == (0, "")
    assert "net[red]: 5 layers on" in done.out
    assert "proven optimal (method down-sets), " in done.out
    assert "written: placement.json" in done.out
    written = json.loads((tmp_path / "placement.json").read_text(encoding="utf-8"))
    as_json = command(*split, "--json")
    assert json.loads(as_json.out) == written
    fewer = json.loads(command(*split, "--accelerators", "1", "--cpus", "2", "--json").out)
    assert sorted(share["machine"] for share in fewer["machines"]) == ["accelerator 0", "cpu 0", "cpu 1"]
    refused(command(*split, "-o", "placement.json"), "placement file 'placement.json' exists", "--force")
    assert command(*split, "-o", "placement.json", "--force").code == 0
    assert entries(tmp_path) == ["net[red].json", "placement.json"]


def test_what_the_command_refuses(command, small_files, tmp_path):
    write(tmp_path / "net.json", small())
    write(tmp_path / "broken.json", {})
    throughput = ("--objective", "throughput")
    for arguments, named in (
        (["net.json"], "workload 'net.json' cannot be split for latency (the default): its transfer times"),
        (["net.json", "--objective", "latency"], "workload 'net.json' cannot be split for latency: its transfer times"),
        (["net.json", "--objective", "energy"], "cannot be split for energy: its"),
        (["net.json", *throughput, "-b", "wifi"], "--bandwidth is for ONNX models, and 'net.json' is taken for a work"),
        (["net.json", *throughput, "--verify"], "--verify is for ONNX models"),
        (["net.json", *throughput, "--accelerators", "0", "--cpus", "0"], "with --accelerators or --cpus"),
        (["net.json", *throughput, "-o", "."], "placement file '.' is a folder; give the path of a file"),
        (["net.json", *throughput, "--cpus", "0"], "layer 'node 7' is allowed on no machine"),
        (["net.json", *throughput, "-o", "no/such.json"], "placement file 'no/such.json' cannot be written"),
        (["broken.json", *throughput], "workload 'broken.json': the field 'maxSizePerFPGA' is missing"),
        ([small_files / "chain.onnx", "-b", "wifi", "--accelerators", "2"], "--accelerators is for workload files"),
        ([small_files / "chain.onnx"], "Missing option '--bandwidth'"),
        ([small_files / "chain.onnx", *throughput], "--objective throughput is for workload files (.json), and"),
        ([small_files / "chain.onnx", "-b", "wifi", *throughput], "for a model use latency or energy"),
        (["net.txt", *throughput], "a workload file is recognised by .json"),
    ):
        refused(command("split", *arguments), named)
    assert entries(tmp_path) == ["broken.json", "net.json"]
