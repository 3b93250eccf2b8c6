"""A model in K parts, and plans that go back and forth: written, read, run and compared."""

import json

import numpy as np
import onnx
import pytest

import graph_io
from partition import InputError, ModelParts, Plan, load_parts, load_plan, partition, split_model
from partition.arguments import visits
from partition.saved import load_saved
from tests.models import random_model, relu_chain, transformer_block
from tests.partition.conftest import entries
from tests.partition.costs import timings_of
from tests.scale import scaled

CUTS = ["b0_norm1", "b0_norm2", "b1_norm1"]


@pytest.fixture(scope="module")
def graph():
    return graph_io.load_graph(transformer_block(sequence="seq"), dims={"seq": 7})


def test_parts_come_back_as_they_were_written(graph, tmp_path):
    made = split_model(graph, CUTS)
    saved = made.save(tmp_path / "out")
    assert entries(tmp_path / "out") == ["part-0.onnx", "part-1.onnx", "part-2.onnx", "part-3.onnx", "parts.json"]
    loaded = load_parts(tmp_path / "out")
    assert (loaded.model, loaded.cuts, loaded.parts) == (saved.model, saved.cuts, saved.parts)
    assert loaded.cuts == tuple((cut,) for cut in CUTS)
    assert [part.inputs[0].name for part in loaded.parts] == ["x", *CUTS]
    assert all(part.weight_bytes > 0 and part.memory_bytes > part.weight_bytes for part in loaded.parts)
    assert all(part.file_bytes > part.weight_bytes and len(part.sha256) == 64 for part in loaded.parts)
    assert loaded.verify(transformer_block(sequence="seq")).ok
    assert made.verify().ok
    with loaded.session(threads=1) as session:
        for length in (1, 3, 12):
            feeds = {"x": np.random.default_rng(length).standard_normal((1, length, 32)).astype(np.float32)}
            assert session.run(feeds)["y"].shape == (1, length, 10)


def test_the_table_shows_weights_memory_and_files(graph, tmp_path):
    made = split_model(graph, ["b0_norm2"])
    lines = str(made).splitlines()
    assert lines[0] == f"transformer: 2 parts, {len(graph)} layers"
    assert lines[2].split() == ["part", "reads", "puts", "out", "layers", "weights", "memory*", "file"]
    assert lines[4].split()[:3] == ["part-0.onnx", "x", "b0_norm2"]
    assert lines[4].endswith("-")
    assert str(made.save(tmp_path / "out")).splitlines()[4].endswith("kB")
    assert repr(made) == "<ModelParts of 'transformer': part-0.onnx -> part-1.onnx>"


def test_a_damaged_part_is_refused(graph, tmp_path):
    split_model(graph, CUTS).save(tmp_path / "out")
    with open(tmp_path / "out" / "part-2.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"part-2\.onnx' is not the file that was saved"):
        load_parts(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 7}, "version"),
        ({"format": "dnn-partition/plan"}, "format"),
        ({"cuts": "b0_norm1"}, "cuts is b0_norm1; legal is a list of lists"),
        ({"cuts": [[1]]}, "cuts is"),
        ({"cuts": [["\ud800"]]}, "cuts is .*; legal is a list of lists"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_damaged_manifest_is_refused(graph, tmp_path, change, problem):
    split_model(graph, CUTS).save(tmp_path / "out")
    path = tmp_path / "out" / "parts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=problem):
        load_parts(tmp_path / "out")


def test_a_folder_of_parts_is_replaced_only_on_request(graph, tmp_path):
    made = split_model(graph, CUTS)
    made.save(tmp_path / "out")
    with pytest.raises(InputError, match="exists"):
        made.save(tmp_path / "out")
    split_model(graph, CUTS[:1]).save(tmp_path / "out", overwrite=True)
    assert entries(tmp_path / "out") == ["part-0.onnx", "part-1.onnx", "parts.json"]
    partition(graph, "wifi").save(tmp_path / "out", overwrite=True)
    assert "plan.json" in entries(tmp_path / "out")
    assert "parts.json" not in entries(tmp_path / "out")
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"holds 'mine\.txt', which no plan wrote"):
        made.save(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize(
    ("number", "field", "name", "problem"),
    [
        (
            1,
            "file",
            "part-0.onnx",
            r"'parts\[1\].file' is 'part-0.onnx', expected another file than that of parts",
        ),
        (
            1,
            "inputs",
            "nowhere",
            r"'parts\[1\].inputs' is 'nowhere', expected inputs of the model or what earlier",
        ),
        (3, "outputs", "nowhere", "output 'y' of the model comes out of no part"),
    ],
)
def test_parts_that_do_not_belong_together(graph, tmp_path, number, field, name, problem):
    split_model(graph, CUTS).save(tmp_path / "out")
    path = tmp_path / "out" / "parts.json"
    content = json.loads(path.read_text())
    part = content["parts"][number]
    if field == "file":
        part["file"] = name
    else:
        part[field][0]["name"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=problem) as caught:
        load_parts(tmp_path / "out")
    assert "parts.json'" in str(caught.value)


@pytest.mark.parametrize(
    ("cuts", "problem"),
    [
        ([], "cuts is empty"),
        ("b0_norm1", "cuts is 'b0_norm1'; give a sequence of cuts"),
        (5, "cuts is 5"),
        ([5], "cut is 5; give tensor names"),
        ([[]], "the cut is empty"),
        (["x"], "the cut at x makes no part: no layer lies in front of it"),
        (["y"], "the cut at y makes no part: no layer lies behind it"),
        (["b0_norm1", ["b0_norm1"]], "makes no part: it divides as b0_norm1 does"),
        (["nowhere"], "tensor 'nowhere' is not in the model"),
        (["b0_q"], "escapes it|inside the layer"),
    ],
)
def test_cuts_that_make_no_sense(graph, cuts, problem):
    with pytest.raises(ValueError, match=problem):
        split_model(graph, cuts)


def test_weights_beside_the_model_stay_there(tmp_path):
    onnx.save(
        transformer_block(width=64),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.data",
        size_threshold=0,
    )
    made = split_model(tmp_path / "model.onnx", CUTS)
    made.save(tmp_path)
    assert "parts.json" in entries(tmp_path)
    assert load_parts(tmp_path).verify().ok
    made.save(tmp_path / "elsewhere")
    assert load_parts(tmp_path / "elsewhere").verify().ok


def test_the_command_beside_the_model_and_with_links(command, tmp_path):
    external = {"save_as_external_data": True, "location": "model.data", "size_threshold": 0}
    onnx.save(transformer_block(width=64), tmp_path / "model.onnx", **external)
    arguments = ("parts", "model.onnx", "--at", "b0_norm2", "-o")
    before = set(entries(tmp_path))
    for again in ((), ("--force",)):
        done = command(*arguments, ".", "--hash-weights", "--verify", *again)
        assert (done.code, done.err) == (0, "")
        assert set(entries(tmp_path)) == before | {"part-0.onnx", "part-1.onnx", "parts.json"}
    assert command("run", ".", "--check-weights", "--verify").code == 0
    refused = command(*arguments, ".")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "is the model's own and holds 'part-0.onnx' already" in refused.err
    assert command(*arguments, "copied").code == 0
    assert load_parts(tmp_path / "copied").parts[0].weights_files[0].sha256 is None
    assert command(*arguments, "linked", "--link-weights").code == 0
    assert (tmp_path / "linked" / "part-0.weights").samefile(tmp_path / "model.data")
    # The package onnx refuses linked data, the copies stand alone.
    assert not (tmp_path / "copied" / "part-0.weights").samefile(tmp_path / "model.data")


def test_a_plan_and_parts_beside_one_model(command, tmp_path):
    """Each is replaced by its own kind alone, and what to run has to be said."""
    external = {"save_as_external_data": True, "location": "model.data", "size_threshold": 0}
    onnx.save(transformer_block(width=64), tmp_path / "model.onnx", **external)
    made, plan = split_model(tmp_path / "model.onnx", CUTS), partition(tmp_path / "model.onnx", "wifi", cut=CUTS[:1])
    plan.save(tmp_path)
    made.save(tmp_path)
    with pytest.raises(InputError, match=r"holds a plan and a model in parts; give the one that is meant: .*json"):
        load_saved(tmp_path)
    assert isinstance(load_saved(tmp_path / "plan.json"), Plan)
    assert isinstance(load_saved(tmp_path / "parts.json"), ModelParts)
    assert (len(load_plan(tmp_path).parts), len(load_parts(tmp_path).parts)) == (2, 4)
    split_model(tmp_path / "model.onnx", CUTS[1:2]).save(tmp_path, overwrite=True)
    assert (len(load_plan(tmp_path).parts), len(load_parts(tmp_path).parts)) == (2, 2)
    assert "part-3.onnx" not in entries(tmp_path)
    plan.save(tmp_path, overwrite=True)
    assert load_parts(tmp_path).verify().ok
    done = command("run", ".")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "give the one that is meant: plan.json or parts.json" in done.err
    assert command("run", "parts.json", "--verify").code == 0


def test_the_command(command, tmp_path):
    onnx.save(transformer_block(), tmp_path / "model.onnx")
    done = command("parts", "model.onnx", "--at", "b0_norm1", "--at", "b1_norm1", "-o", "out", "--verify")
    assert (done.code, done.err) == (0, "")
    assert "3 parts" in done.out
    assert "verified" in done.out
    ran = command("run", "out", "--verify", "--json")
    assert (ran.code, ran.err) == (0, "")
    content = json.loads(ran.out)
    assert content["parts"] == ["part-0.onnx", "part-1.onnx", "part-2.onnx"]
    assert content["verification"]["ok"]
    wrong = command("parts", "model.onnx", "--at", "b0_norm1,b0_norm2")
    assert wrong.code == 2
    assert "is downstream of" in wrong.err


# --- back and forth ---------------------------------------------------------------------------------------------


def alternating(graph, *, every=2):
    """Return timings by which each machine is good at some layers alone, so that only going back and forth is fast."""
    fast, slow = 1e-6, 1.0
    device = {layer: fast if index // every % 2 == 0 else slow for index, layer in enumerate(graph)}
    server = {layer: fast + slow - seconds for layer, seconds in device.items()}
    return {"device": timings_of(graph, device), "server": timings_of(graph, server)}


@pytest.mark.parametrize(("most", "n_stages"), [(1, 3), (2, 5), (None, 5), (7, 5)])
def test_a_plan_visits_the_server_as_often_as_it_may(most, n_stages, tmp_path):
    graph = graph_io.load_graph(relu_chain(9), granularity="node")
    plan = partition(graph, "10Gbps", rtt="1ms", max_server_visits=most, **alternating(graph))
    assert (len(plan.stages), plan.max_server_visits) == (n_stages, most)
    assert plan.optimal
    plan.save(tmp_path / "out")
    loaded = load_plan(tmp_path / "out")
    assert (loaded.stages, loaded.max_server_visits) == (plan.stages, most)
    verification = loaded.verify(relu_chain(9), timing=True)
    assert verification.bit_identical
    assert len(verification.stages) == n_stages


@pytest.mark.parametrize("seed", range(scaled(10, 100)))
def test_random_models_back_and_forth(seed, tmp_path):
    generator = np.random.default_rng(seed)
    graph = graph_io.load_graph(random_model(seed), granularity="node")
    costs = [
        timings_of(graph, {layer: float(generator.choice([1e-6, 1.0])) for layer in graph})
        for _ in ("device", "server")
    ]
    value = float("inf")
    for most in (1, 2, None):
        plan = partition(graph, "10Gbps", rtt="1ms", device=costs[0], server=costs[1], max_server_visits=most)
        assert plan.value <= value * (1 + 1e-12), "more freedom is never worse"
        value = plan.value
        assert sum(message.direction == "uplink" for message in plan.messages) <= (most or len(graph))
    plan.save(tmp_path / "out")
    assert load_plan(tmp_path / "out").verify(random_model(seed), threads=1).ok


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_visits_that_cannot_be(number):
    with pytest.raises(InputError, match=r"max_server_visits is .*; give a whole number of 1 or more, or None"):
        partition(relu_chain(), "wifi", max_server_visits=number)


def test_visits_on_the_command_line(command, tmp_path):
    onnx.save(relu_chain(), tmp_path / "model.onnx")
    done = command("split", "model.onnx", "-b", "wifi", "--max-server-visits", "any", "--json")
    assert json.loads(done.out)["max_server_visits"] is None
    refused = command("split", "model.onnx", "-b", "wifi", "--max-server-visits", "0")
    assert refused.code == 2
    assert "'0' is not a whole number of 1 or more, nor 'any'" in refused.err


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "²"])
def test_visits_that_cannot_be_read(text):
    assert (visits("3"), visits("any")) == (3, None)
    with pytest.raises(InputError, match="is not a whole number of 1 or more"):
        visits(text)
