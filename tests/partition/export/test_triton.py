"""Model repositories for Triton: what they hold, that it computes the same, and what is refused.

`python -m benchmarks.conformance` runs them in a real Triton.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

import graph_io
from partition import InputError, load_plan, partition
from partition.export import repository, triton_model
from partition.export.protobuf_text import Keyword
from partition.export.triton import export_triton
from partition.export.triton_models import onnxruntime_models, part_edges, python_models
from partition.model_parts import load_parts, split_model
from partition.serve.registry import open_models
from partition.v2.names import stage_interface
from tests.models import model, node, relu_chain, value
from tests.partition.conftest import entries
from tests.partition.export.model_config import read_config, type_name

ADAPT = {"bandwidth": "0.5Mbps..1Gbps", "rtt": "0ms..100ms", "server_slowdown": "0.01..1000"}
TYPES = {
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_FP64": np.float64,
    "TYPE_INT64": np.int64,
    "TYPE_INT8": np.int8,
    "TYPE_UINT16": np.uint16,
    "TYPE_BOOL": np.bool_,
    "TYPE_STRING": np.object_,
}
ODD = 'q"\\é\n'


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder of saved plans: one that adapts, a chain, and models in parts of many types."""
    home = tmp_path_factory.mktemp("exported")
    partition(graph_io.load_graph(graph_io.light_model("squeezenet")), "50Mbps", rtt="5ms", adapt=ADAPT).save(
        home / "adaptive"
    )
    partition(relu_chain(4), "wifi", granularity="node", cut=["t0"]).save(home / "chain")
    whole, inputs = many_types()
    cuts = [[f"{stage}{name}" for name in (*TYPES, ODD, "0")] for stage in ("a", "b")]
    split_model(graph_io.load_graph(whole, granularity="node", inputs=inputs), cuts).save(home / "types")
    return home


def many_types():
    """Return a model with a chain of two cuts for each type, one of an odd name and one without dimensions."""
    nodes, given, wanted, arrays = [], [], [], {}
    kinds = [*((name, dtype, ["n", 3]) for name, dtype in TYPES.items()), (ODD, np.float32, [3]), ("0", np.float32, [])]
    for name, dtype, shape in kinds:
        onnx_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        steps = [f"{stage}{name}" for stage in "xaby"]
        nodes += [onnx.helper.make_node("Identity", [one], [two]) for one, two in pairwise(steps)]
        given.append(value(f"x{name}", shape, onnx_type))
        wanted.append(value(f"y{name}", shape, onnx_type))
        sizes = [2 if size == "n" else size for size in shape]
        arrays[f"x{name}"] = (np.arange(np.prod(sizes, dtype=int)) % 2).reshape(sizes).astype(dtype)
    arrays["xTYPE_STRING"] = np.array([["a", "é\0", "x" * 300], ["", "b", '"']], np.object_)
    return model(nodes, given, wanted), arrays


def run_repository(folder, name, inputs):
    """Compute what Triton's onnxruntime backend would: one model, or the steps of an ensemble."""
    config = read_config(folder / name)
    if not config.HasField("ensemble_scheduling"):
        session = onnxruntime.InferenceSession(folder / name / "1" / "model.onnx")
        assert [one.name for one in session.get_inputs()] == [one.name for one in config.input]
        assert {one.name for one in session.get_outputs()} == {one.name for one in config.output}
        names = [one.name for one in config.output]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))
    values = dict(inputs)
    for step in config.ensemble_scheduling.step:
        assert step.model_version == -1
        feeds = {one.key: values[one.value] for one in step.input_map}
        made = run_repository(folder, step.model_name, feeds)
        values |= {one.value: made[one.key] for one in step.output_map}
    return {one.name: values[one.name] for one in config.output}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def stage_inputs(models, name):
    generator = np.random.default_rng(0)
    return {
        one.name: generator.standard_normal([2 if size < 0 else size for size in one.shape]).astype(np.float32)
        for one in models[name].inputs.values()
    }


def test_a_plan_that_adapts_becomes_ensembles_that_share_their_parts(saved, tmp_path):
    made = export_triton(saved / "adaptive", tmp_path / "repository")
    served = open_models([saved / "adaptive"], threads=1)
    assert set(made.stages) == set(served)
    assert entries(made.folder) == sorted([*made.models, "export.json"])
    parts = {number for stage in load_plan(saved / "adaptive").choices for one in stage.stages for number in one.parts}
    assert len(made.models) < len(made.stages) + len(parts)
    ensembles = 0
    for name, own in served.items():
        config = read_config(made.folder / name)
        assert config.name == name
        assert config.max_batch_size == 0
        assert [one.name for one in config.input] == list(own.inputs)
        assert [tuple(one.dims) for one in config.output] == [one.shape for one in own.outputs.values()]
        ensembles += config.platform == "ensemble"
        inputs = stage_inputs(served, name)
        assert_same(run_repository(made.folder, name, inputs), own.run(inputs))
    assert ensembles > 2
    assert made.size_bytes == sum(path.stat().st_size for path in made.folder.glob("*/**/*") if path.is_file())


def test_the_configuration_of_one_part(saved, tmp_path):
    made = export_triton(saved / "chain", tmp_path / "repository", threads=3)
    (name,) = made.models
    config = read_config(made.folder / name)
    assert config.backend == "onnxruntime"
    assert [(one.name, type_name(one), [*one.dims]) for one in config.input] == [("t0", "TYPE_FP32", [1, 4])]
    assert [(one.name, type_name(one), [*one.dims]) for one in config.output] == [("y", "TYPE_FP32", [1, 4])]
    assert [(one.count, one.kind) for one in config.instance_group] == [(1, 2)]
    assert {one.key: one.value.string_value for one in config.parameters} == {"intra_op_thread_count": "3"}
    x = np.array([[1, -2, 3, 0.5]], np.float32)
    assert_same(run_repository(made.folder, name, {"t0": x}), open_models([saved / "chain"])[name].run({"t0": x}))


def test_every_type_and_odd_names(saved, tmp_path):
    made = export_triton(saved / "types", tmp_path / "repository")
    assert len(made.stages) == len(made.models) == 3
    config = read_config(made.folder / made.stages[1])
    assert {one.name: type_name(one) for one in config.input} == {f"a{name}": name for name in TYPES} | {
        f"a{ODD}": "TYPE_FP32",
        "a0": "TYPE_FP32",
    }
    dims = {one.name: [*one.dims] for one in config.input}
    assert dims["aTYPE_BOOL"] == [-1, 3]
    assert dims[f"a{ODD}"] == [3]
    # Triton refuses an empty reshape where there is no batch; its runtime takes a single 1 for no dimensions.
    assert dims["a0"] == [1]
    assert not any(one.HasField("reshape") for one in (*config.input, *config.output))


class FakeTriton(ModuleType):
    """What Triton gives to the programs that run in it, as far as ours uses it."""

    def __init__(self):
        super().__init__("triton_python_backend_utils")
        self.TritonError = str
        self.InferenceResponse = SimpleNamespace
        self.Tensor = lambda name, array: (name, array)

    @staticmethod
    def get_input_tensor_by_name(request, name):
        return SimpleNamespace(as_numpy=lambda: request.inputs[name])


def run_in_python(folder, monkeypatch, inputs, wanted=None):
    """Run an exported model of the python backend, in place of Triton."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", FakeTriton())
    written = read_config(folder)
    config = {
        "input": [{"name": one.name, "data_type": type_name(one)} for one in written.input],
        "output": [{"name": one.name} for one in written.output],
        "parameters": {one.key: {"string_value": one.value.string_value} for one in written.parameters},
    }
    source = (folder / "1" / "model.py").read_text(encoding="utf-8")
    assert source == Path(triton_model.__file__).read_text(encoding="utf-8")
    running = triton_model.TritonPythonModel()
    running.initialize({"model_config": json.dumps(config), "model_repository": str(folder), "model_version": "1"})
    wanted = wanted or [one["name"] for one in config["output"]]
    (answer,) = running.execute([SimpleNamespace(inputs=inputs, requested_output_names=lambda: wanted)])
    return answer


def test_the_python_backend_computes_the_same(saved, tmp_path, monkeypatch):
    made = export_triton(saved / "adaptive", tmp_path / "repository", backend="python", threads=1)
    served = open_models([saved / "adaptive"], threads=1)
    assert set(made.stages) == set(made.models) == set(served)
    for name, own in served.items():
        inputs = stage_inputs(served, name)
        answer = run_in_python(made.folder / name, monkeypatch, inputs)
        assert_same(dict(answer.output_tensors), own.run(inputs))


def as_triton_sees(name, array):
    if name.endswith("0"):
        return array.reshape(1)
    if array.dtype == object:
        return np.array([text.encode() for text in array.ravel()], object).reshape(array.shape)
    return array


def test_every_type_in_the_python_backend(saved, tmp_path, monkeypatch):
    made = export_triton(saved / "types", tmp_path / "repository", backend="python", threads=1)
    _, arrays = many_types()
    values = {name: as_triton_sees(name, array) for name, array in arrays.items()}
    for name in made.stages:
        answer = run_in_python(made.folder / name, monkeypatch, values)
        values = dict(answer.output_tensors)
    assert_same(values, {f"y{name[1:]}": as_triton_sees(name, array) for name, array in arrays.items()})
    values = {name: as_triton_sees(name, array) for name, array in arrays.items()} | {"x0": np.zeros(1, np.float64)}
    answer = run_in_python(made.folder / made.stages[0], monkeypatch, values)
    assert "Unexpected input data type" in answer.error


def test_only_what_was_asked_for(saved, tmp_path, monkeypatch):
    made = export_triton(saved / "types", tmp_path / "repository", backend="python")
    _, arrays = many_types()
    values = {name: as_triton_sees(name, array) for name, array in arrays.items()}
    answer = run_in_python(made.folder / made.stages[0], monkeypatch, values, ["aTYPE_FP32"])
    assert [name for name, _ in answer.output_tensors] == ["aTYPE_FP32"]


def between(saved_folder, whole, cuts, **more):
    """Save a model in parts and describe the stage of all behind the first."""
    split_model(graph_io.load_graph(whole, granularity="node", **more), cuts).save(saved_folder)
    parts = load_parts(saved_folder)
    stage = stage_interface(parts, range(1, len(parts.parts)))
    return parts, saved_folder, stage, {number: part_edges(parts, number) for number in stage.parts}, None


def test_types_that_numpy_lacks_stay_within_the_python_backend(tmp_path, monkeypatch):
    nodes = [
        node("Identity", "x", "t"),
        node("Cast", "t", "half", to=onnx.TensorProto.BFLOAT16),
        node("Cast", "half", "y", to=onnx.TensorProto.FLOAT),
    ]
    made = between(tmp_path / "parts", model(nodes, {"x": (3,)}, [value("y", [3])]), ["t", "half"])
    with pytest.raises(InputError, match=r"tensor 'half' between two parts of a stage is of type bfloat16.*python"):
        onnxruntime_models(*made)
    repository.write_repository(tmp_path / "repository", python_models(*made), "python", overwrite=False)
    x = np.array([1, -2.5, 1e10], np.float32)
    answer = run_in_python(tmp_path / "repository" / made[2].name, monkeypatch, {"t": x})
    np.testing.assert_allclose(dict(answer.output_tensors)["y"], x, rtol=0.01)
    with pytest.raises(InputError, match="tensor 'half' is of type bfloat16, which does not travel"):
        export_triton(tmp_path / "parts", tmp_path / "each", backend="python")


def test_an_unknown_rank(tmp_path):
    """The runtime tells no dimensions of a tensor that may have any number of them."""
    parts, folder, stage, edges, threads = between(tmp_path / "parts", relu_chain(), ["t0"])
    edges[1]["y"] = ("tensor(float)", [])
    with pytest.raises(InputError, match=r"does not tell how many dimensions tensor 'y' has.*--backend python"):
        onnxruntime_models(parts, folder, stage, edges, threads)
    (made,) = python_models(parts, folder, stage, edges, threads)
    assert ("output", (("name", "y"), ("data_type", Keyword("TYPE_FP32")), ("dims", [-1, -1]))) in made.config


def test_a_size_of_zero(tmp_path):
    split_model(graph_io.load_graph(relu_chain(shape=(0, 4)), granularity="node"), ["t0"]).save(tmp_path / "parts")
    with pytest.raises(InputError, match="tensor 'x' has a dimension of size 0, which Triton does not take"):
        export_triton(tmp_path / "parts", tmp_path / "repository")


def test_weights_of_their_own_come_along(tmp_path):
    size = 40
    weight = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    whole = model(
        [node("Tanh", "x", "t"), node("MatMul", "t w", "y")], {"x": (1, size)}, [value("y", [1, size])], {"w": weight}
    )
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "net.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="net.data", size_threshold=0)
    plan = partition(path, "wifi", granularity="node", cut=["t"]).save(tmp_path / "plan", hash_weights=True)
    assert plan.parts[1].weights_files
    made = export_triton(tmp_path / "plan", tmp_path / "repository")
    x = np.ones((1, size), np.float32)
    found = run_repository(made.folder, made.stages[0], {"t": x})
    assert_same(found, open_models([tmp_path / "plan"])[made.stages[0]].run({"t": x}))
    np.testing.assert_allclose(found["y"], x @ weight, rtol=1e-4, atol=1e-5)


def test_a_folder_appears_whole_or_not_at_all(saved, tmp_path, monkeypatch):
    def fail(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    place = tmp_path / "new" / "repository"
    with monkeypatch.context() as patch:
        patch.setattr(repository.shutil, "copyfile", fail)
        with pytest.raises(InputError, match=r"repository '.*' cannot be written: No space left on device"):
            export_triton(saved / "chain", place)
    assert entries(tmp_path) == []
    export_triton(saved / "chain", place)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(repository.shutil, "copyfile", fail)
        with pytest.raises(InputError, match="No space left"):
            export_triton(saved / "types", place, overwrite=True)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert entries(tmp_path / "new") == ["repository"]


def test_only_an_export_is_replaced(saved, tmp_path):
    place = tmp_path / "repository"
    first = export_triton(saved / "chain", place, backend="python")
    with pytest.raises(InputError, match=r"exists; choose another, or pass --force"):
        export_triton(saved / "chain", place)
    compiled = place / first.stages[0] / "1" / "__pycache__"
    compiled.mkdir()
    (compiled / "model.cpython-311.pyc").write_bytes(b"made by Triton's Python")
    second = export_triton(saved / "types", place, overwrite=True)
    assert entries(place) == sorted([*second.models, "export.json"])
    other = place / second.stages[0] / "2"
    other.mkdir()
    (other / "model.onnx").write_bytes(b"somebody's")
    with pytest.raises(InputError, match=r"holds '.*2/model.onnx', which no export wrote"):
        export_triton(saved / "chain", place, overwrite=True)
    assert (other / "model.onnx").read_bytes() == b"somebody's"
    for foreign in (saved / "chain", tmp_path / "file"):
        if not foreign.exists():
            foreign.write_text("text", encoding="utf-8")
        with pytest.raises(InputError, match=r"not replaced; choose another"):
            export_triton(saved / "chain", foreign, overwrite=True)
    for always in (".", "..", "/"):
        with pytest.raises(InputError, match="give the path of a new one"):
            export_triton(saved / "chain", always, overwrite=True)
    assert load_plan(saved / "chain").parts


def test_what_is_refused(saved, tmp_path):
    place = tmp_path / "repository"
    with pytest.raises(InputError, match="backend is 'tensorrt'; legal are 'onnxruntime' and 'python'"):
        export_triton(saved / "chain", place, backend="tensorrt")
    with pytest.raises(InputError, match="threads"):
        export_triton(saved / "chain", place, threads=0)
    partition(relu_chain(), "wifi", granularity="node", cut=["y"], device="xeon-server").save(tmp_path / "local")
    with pytest.raises(InputError, match="runs nothing on the server, so there is nothing to export"):
        export_triton(tmp_path / "local", place)
    encoded = partition(relu_chain(), "wifi", granularity="node", cut=["x"], input_bytes={"x": 4})
    encoded.save(tmp_path / "encoded")
    with pytest.raises(InputError, match="sends input 'x' as 4 encoded bytes, and Triton has no decoder"):
        export_triton(tmp_path / "encoded", place)
    with pytest.raises(InputError, match=r"plan\.json"):
        export_triton(tmp_path / "nowhere", place)
    assert entries(tmp_path) == ["encoded", "local"]


def test_the_command(saved, tmp_path, command):
    done = command("export", saved / "chain", "--triton", "repository", "--backend", "python", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["backend"] == "python"
    assert entries(tmp_path / "repository") == sorted([*told["models"], "export.json"])
    done = command("export", saved / "adaptive", "--triton", "repository", "--force")
    assert done.code == 0
    assert "next: tritonserver --model-repository repository" in done.out
    assert "that these consist of" in done.out
    done = command("export", saved / "adaptive", "--triton", "repository")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "repository 'repository' exists" in done.err
