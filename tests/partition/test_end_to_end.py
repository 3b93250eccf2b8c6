"""Nine published topologies over three links: planned, written, read back, run, and equal to the whole model."""

import gc
import shutil

import numpy as np
import onnxruntime
import pytest

import graph_io
from graph_io.inputs import random_inputs
from graph_io.shapes import input_dtypes
from partition import load_plan, partition
from tests.conftest import LARGE_MODELS
from tests.partition.costs import timings_of
from tests.scale import scaled

LINKS = ("3g", "4g", "wifi")
TOLERANCE = 1e-5
MODELS = graph_io.LIGHT_MODELS
SMALL = tuple(name for name in MODELS if name not in LARGE_MODELS)


def grouped(cases, quick):
    """Take the cases of this run; those of large models go to one worker, so that their memory does not add up."""
    taken = sorted(cases[: scaled(quick, len(cases))])  # a model's cases follow each other, so that it is built once
    return [
        pytest.param(*case, marks=pytest.mark.xdist_group("large") if case[0] in LARGE_MODELS else ()) for case in taken
    ]


# The Wi-Fi plans of AlexNet and ZFNet cut inside; the small models meet every link in the quick run already.
FIRST = [(name, "wifi" if name in LARGE_MODELS else LINKS[number % 3]) for number, name in enumerate(MODELS)]
OTHERS = [(name, link) for name in (*SMALL, *LARGE_MODELS) for link in LINKS if (name, link) not in FIRST]


class Whole:
    """A model with its layer graph and its outputs for two inputs."""

    def __init__(self, name):
        self.graph = graph_io.load_graph(graph_io.light_model(name))
        model = self.graph.graph["model"]
        shapes = {one: self.graph.graph["tensors"][one].shape for one in self.graph.graph["inputs"]}
        self.feeds = [random_inputs(shapes, input_dtypes(model), seed=seed) for seed in (3, 4)]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = list(self.graph.graph["outputs"])
        self.outputs = [dict(zip(names, session.run(names, feed), strict=True)) for feed in self.feeds]


@pytest.fixture(scope="module")
def whole():
    """Give a model by name; only the last one is kept."""
    kept = {}

    def get(name):
        if name not in kept:
            kept.clear()
            gc.collect()
            kept[name] = Whole(name)
        return kept[name]

    yield get
    kept.clear()
    gc.collect()


def check_saved_plan_runs(plan, whole, folder):
    """Save, load and run a plan, compare it with the whole model, and leave no file behind."""
    try:
        plan.save(folder)
        loaded = load_plan(folder)
        with loaded.session() as session:
            for feed, expected in zip(whole.feeds, whole.outputs, strict=True):
                outputs = session.run(feed)
                assert list(outputs) == list(expected)
                for name, reference in expected.items():
                    assert outputs[name].dtype == reference.dtype
                    assert outputs[name].shape == reference.shape
                    assert np.max(np.abs(outputs[name] - reference)) <= TOLERANCE * np.max(np.abs(reference))
        return loaded
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_is_coherent(plan):
    """Stages, parts and messages alternate and add up, and the estimate is the plan's."""
    assert [stage.machine for stage in plan.stages] == ["device", "server", "device"][: len(plan.stages)]
    assert [number for stage in plan.stages for number in stage.parts] == list(range(len(plan.parts)))
    assert sum(stage.n_layers for stage in plan.stages) == plan.model.n_layers
    assert len(plan.messages) == len(plan.stages) - 1
    assert [message.direction for message in plan.messages] == ["uplink", "downlink"][: len(plan.messages)]
    for stage in plan.stages:
        assert sum(len(plan.parts[number].layers) for number in stage.parts) == stage.n_layers
        assert all(plan.parts[number].file == f"part-{number}.{stage.machine}.onnx" for number in stage.parts)
    legs = sum(stage.compute_s for stage in plan.stages)
    legs += sum(message.transfer_s + message.delay_s for message in plan.messages)
    assert plan.latency_s == pytest.approx(legs, rel=1e-12)
    if plan.objective == "latency":
        assert plan.value == pytest.approx(plan.latency_s, rel=1e-12)


@pytest.mark.parametrize(("name", "link"), grouped([*FIRST, *OTHERS], quick=len(FIRST) + 2))
def test_plan_is_written_read_run_and_equal(name, link, whole, tmp_path):
    reference = whole(name)
    for first, second in zip(*(outputs.values() for outputs in reference.outputs), strict=True):
        assert np.max(np.abs(first - second)) > 1e-4 * np.max(np.abs(first)), "nothing would be seen of a mistake"
    plan = partition(reference.graph, link)
    check_is_coherent(plan)
    assert plan.optimal
    check_saved_plan_runs(plan, reference, tmp_path / "out")
    verification = plan.verify(inputs=reference.feeds)
    assert verification.ok
    assert verification.depends_on_input
    assert verification.n_inputs == 2


@pytest.mark.parametrize("name", grouped([(name,) for name in (*SMALL, *LARGE_MODELS)], quick=len(SMALL)))
def test_cuts_inside(name, whole, tmp_path):
    reference = whole(name)
    cuts = graph_io.single_tensor_cuts(reference.graph)[1:-1]
    assert len(cuts) >= 3, "a model without a cut inside proves nothing here"
    for number, place in enumerate((1 / 8, 1 / 2, 7 / 8)[: scaled(2, 3)]):
        cut = cuts[int(place * len(cuts))]
        plan = partition(reference.graph, "wifi", cut=[cut])
        check_is_coherent(plan)
        assert plan.cut == (cut,)
        assert [stage.machine for stage in plan.stages if stage.parts] == ["device", "server"]
        assert 0 < len(plan.layers_on_device) < plan.model.n_layers
        check_saved_plan_runs(plan, reference, tmp_path / str(number))


@pytest.mark.parametrize("name", grouped([(name,) for name in (*SMALL, *LARGE_MODELS)], quick=len(SMALL)))
def test_there_and_back_in_three_stages(name, whole, tmp_path):
    reference = whole(name)
    layers = list(reference.graph.nodes)
    third = len(layers) // 3
    device = {layer: 1e-3 if index < third or index >= 2 * third else 10.0 for index, layer in enumerate(layers)}
    server = {layer: 10.0 if index < third or index >= 2 * third else 1e-3 for index, layer in enumerate(layers)}
    plan = partition(
        reference.graph,
        "10Gbps",
        device=timings_of(reference.graph, device, "mine"),
        server=timings_of(reference.graph, server, "theirs"),
    )
    check_is_coherent(plan)
    assert [stage.machine for stage in plan.stages if stage.parts] == ["device", "server", "device"]
    assert len(plan.parts) == 3
    assert [message.direction for message in plan.messages] == ["uplink", "downlink"]
    check_saved_plan_runs(plan, reference, tmp_path / "out")


def test_a_plan_of_a_file_verifies_itself_after_loading(light_file, tmp_path):
    partition(light_file("squeezenet"), "3g").save(tmp_path / "out")
    loaded = load_plan(tmp_path / "out")
    verification = loaded.verify()
    assert verification.ok
    assert verification.depends_on_input
    assert str(loaded) == str(load_plan(tmp_path / "out"))
