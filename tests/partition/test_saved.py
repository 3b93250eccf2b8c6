"""``plan.json``: every field comes back, and a folder that is not the one that was saved is refused."""

import copy
import hashlib
import json
import os
import shutil
from dataclasses import fields

import numpy as np
import pytest

from partition import InputError, Plan, load_plan, partition
from tests.models import model, node, relu_chain, value
from tests.partition.costs import machine, timings_of

LINK = "300Mbps"


def plans():
    """Plans that between them use every field: given and found cuts, energy, dimensions, encoded inputs."""
    chain = relu_chain(4)
    opened = model([node("Tanh", "x", "t"), node("Relu", "t", "y")], {"x": ("batch", "seq")}, [value("y", None)])
    return {
        "default": partition(chain, "wifi"),
        "given": partition(chain, "wifi", cut=["t1"]),
        "server": partition(chain, "wifi", cut=["x"], output_on="server"),
        "energy": partition(chain, LINK, device=machine(), objective="energy", cut=["t0"]),
        "encoded": partition(chain, LINK, cut=["x"], input_bytes={"x": 3}),
        "open": partition(opened, "3g", dims={"seq": 7}, granularity="node", cut=["t"]),
    }


@pytest.fixture(scope="module", params=["default", "given", "server", "energy", "encoded", "open"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "out"
    return plans()[request.param].save(folder)


def test_every_field_comes_back(saved):
    loaded = load_plan(saved.source)
    assert loaded.to_json() == saved.to_json()
    for one in fields(Plan):
        if one.name != "source":
            assert getattr(loaded, one.name) == getattr(saved, one.name), one.name
    assert loaded.source == saved.source
    assert str(loaded) == str(saved)
    assert repr(loaded) == repr(saved)
    assert (loaded.latency_s, loaded.cut, loaded.relative_gap) == (saved.latency_s, saved.cut, saved.relative_gap)
    assert loaded.layers_on_device == saved.layers_on_device


def test_the_file_is_json_with_sizes_and_hashes(saved):
    text = (saved.source / "plan.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=lambda literal: pytest.fail(literal))
    assert (content["format"], content["version"]) == ("dnn-partition/plan", 1)
    for part in content["parts"]:
        raw = (saved.source / part["file"]).read_bytes()
        assert part["file_bytes"] == len(raw)
        assert part["sha256"] == hashlib.sha256(raw).hexdigest()
    assert sorted(path.name for path in saved.source.iterdir()) == sorted(
        ["plan.json", *(part["file"] for part in content["parts"])]
    )


def test_a_loaded_plan_saves_again(saved, tmp_path):
    again = load_plan(saved.source).save(tmp_path / "again")
    assert again.to_json() == saved.to_json()
    for part in saved.parts:
        assert (tmp_path / "again" / part.file).read_bytes() == (saved.source / part.file).read_bytes()


def test_saving_twice_writes_the_same_bytes(tmp_path):
    plan = plans()["given"]
    first, second = plan.save(tmp_path / "first"), plan.save(tmp_path / "second")
    for path in sorted(first.source.iterdir()):
        assert path.read_bytes() == (second.source / path.name).read_bytes()


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    plans()["given"].save(tmp_path / "out")
    return tmp_path / "out"


def change(folder, path, new):
    """Replace one field of ``plan.json``, or delete it; `path` is dotted, numbers are places in lists."""
    file = folder / "plan.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = content
    for step in way:
        place = place[step]
    if new is ...:
        del place[last]
    else:
        place[last] = new
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "new", "problem"),
    [
        ("format", "other", "has the format 'other', expected 'dnn-partition/plan'"),
        ("format", ..., "has the format None"),
        ("version", 2, "has version 2; this release reads version 1"),
        ("version", True, "has version True"),
        ("colour", "red", "unknown field 'colour'"),
        ("model.colour", "red", "unknown field 'model.colour'"),
        ("parts.0.colour", "red", r"unknown field 'parts\[0\].colour'"),
        ("parts.0.inputs.0.colour", "red", r"unknown field 'parts\[0\].inputs\[0\].colour'"),
        ("value", float("nan"), "holds the literal NaN"),
        ("link.rtt_s", float("inf"), "holds the literal Infinity"),
        ("value", "1", "the field 'value' is '1'"),
        ("optimal", 1, "the field 'optimal' is 1, expected true or false"),
        ("objective", "speed", "the field 'objective' is 'speed', expected 'latency' or 'energy'"),
        ("output_on", "moon", "the field 'output_on' is 'moon'"),
        ("link.rtt_s", -1, "link: the field 'rtt_s' is -1"),
        ("link.uplink_bits_per_s", 0, "link: the field 'uplink_bits_per_s' is 0"),
        ("stages.0.machine", "moon", r"the field 'stages\[0\].machine' is 'moon'"),
        ("stages.0.parts", [1], "the field 'stages' is .* once each, in order"),
        ("stages.0.parts", [0, 0], "once each, in order"),
        ("stages.0.parts", [-1], r"the field 'stages\[0\].parts'"),
        ("stages.0.compute_s", -1.0, r"the field 'stages\[0\].compute_s'"),
        ("messages", [], r"the field 'messages' is \[\], expected one message between each two stages"),
        ("messages.0.direction", "sideways", r"'messages\[0\].direction' is 'sideways'"),
        ("estimates", [], r"the field 'estimates' is \[\], expected 'this plan' first"),
        ("estimates.0.uplink_bytes", 1.5, r"'estimates\[0\].uplink_bytes' is 1.5"),
        ("encoded_inputs", {"x": -1}, "'encoded_inputs.x' is -1"),
        ("model.dims", {"seq": "7"}, "'model.dims.seq' is '7'"),
        ("parts.0.sha256", None, r"'parts\[0\].sha256' is None"),
        ("parts.0.file", "../part-0.device.onnx", "is a path; parts lie in the plan's own folder"),
        ("parts.0.file", "/etc/hostname", "is a path; parts lie in the plan's own folder"),
        ("parts.0.file", "..", r"part '\.\.' is a path|cannot be read"),
        ("parts.0.file", "sub/part.onnx", "is a path"),
        ("parts.0.file", "part-9.device.onnx", "part-9.device.onnx' cannot be read"),
        ("parts.0.file", "a\0b.onnx", r"'parts\[0\].file' is 'a\\x00b.onnx', expected the path of a file"),
        (
            "parts.0.file",
            "part-1.server.onnx",
            r"'parts\[1\].file' is .*, expected another file than that of parts",
        ),
        ("parts.0.inputs.0.name", "nowhere", r"'parts\[0\].inputs' is 'nowhere', expected inputs of the model or"),
        ("parts.1.inputs.0.name", "y", r"'parts\[1\].inputs' is 'y', expected inputs of the model or what earlier"),
        ("parts.0.outputs.0.name", "nowhere", r"'parts\[1\].inputs' is 't1', expected inputs of the model or"),
        ("model.inputs.0.name", "nowhere", r"'parts\[0\].inputs' is 'x', expected inputs of the model or"),
        ("model.outputs.0.name", "nowhere", "'model.outputs' is wrong: output 'nowhere' of the model comes out of no"),
        ("encoded_inputs", {"nowhere": 1}, "'encoded_inputs' is 'nowhere', expected inputs of the model"),
        (
            "messages.0.tensors",
            [],
            r"'messages\[0\].tensors' is \(\), expected also 't1', which part-1.server.onnx",
        ),
        ("messages.0.tensors", ["t1", "y"], r"'messages\[0\].tensors' is .*, expected tensors that the device has by"),
        ("stages.0.machine", "server", "'stages' is .*, expected stages that alternate"),
        ("model.name", "a\ud800", r"'model.name' is 'a\\ud800', expected a text"),
        ("model.name", "a\udcff", r"'model.name' is 'a\\udcff', expected a text"),
        ("model.path", "a\ud800", r"'model.path' is 'a\\ud800', expected the path of a file, or null"),
        ("model.path", "a\0b", "'model.path' is .*, expected the path of a file, or null"),
        ("model.dims", {"\udfff": 1}, r"the name of the field 'model.dims.\\udfff' is not Unicode text"),
        ("assumptions", ["\ud800"], r"'assumptions' is \['\\ud800'\], expected a list of texts"),
        ("link.assumptions", ["\ud800"], r"link: the field 'assumptions' is"),
    ],
)
def test_a_plan_file_that_cannot_be_used(folder, path, new, problem):
    change(folder, path, new)
    with pytest.raises(InputError, match=problem) as caught:
        load_plan(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="paths are bytes")
def test_a_model_whose_file_name_is_not_utf8(tmp_path):
    import onnx

    name = os.fsdecode(b"m\xff.onnx")
    try:
        onnx.save(relu_chain(4), tmp_path / "m.onnx")
        (tmp_path / "m.onnx").rename(tmp_path / name)
    except OSError:
        pytest.skip("the disk takes no such name")
    partition(tmp_path / name, "wifi", cut=["t1"]).save(tmp_path / "out")
    loaded = load_plan(tmp_path / "out")
    assert loaded.model.name == "m\ufffd"
    assert loaded.model.path == str(tmp_path / name)
    str(loaded).encode()
    assert loaded.verify().ok


def paths_of(value, prefix=""):
    """List the dotted paths of all fields of a JSON value."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((str(index), one) for index, one in enumerate(value))
    else:
        return
    for key, one in items:
        if "." not in key:
            yield f"{prefix}{key}"
            yield from paths_of(one, f"{prefix}{key}.")


def test_every_field_that_is_missing_is_named(folder):
    original = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    names = [path for path in paths_of(original) if not path.rpartition(".")[2].isdigit()]
    assert len(names) > 100
    for path in names:
        change(folder, path, ...)
        with pytest.raises(InputError) as caught:
            load_plan(folder)
        name = path.rpartition(".")[2]
        assert name == "format" or f"{name}' is missing" in str(caught.value), path
        (folder / "plan.json").write_text(json.dumps(original), encoding="utf-8")


# Fields that may be null, true, negative or an empty table.
LOOSE = ("path", "optimal", "keep_inputs", "value", "bound", "objective_value", "dims", "encoded_inputs")
LOOSE += ("threads", "deviation_s")  # null where nobody told
LOOSE += ("max_server_visits",)  # null for any number
LOOSE += ("adapts_to",)  # null where there are no choices


def test_no_value_of_another_type_gets_past_or_breaks_the_reader(folder):
    original = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    for path in paths_of(original):
        (folder / "plan.json").write_text(json.dumps(original), encoding="utf-8")
        for new in (None, {}, [[]], "", True, -3):
            change(folder, path, copy.deepcopy(new))
            try:
                load_plan(folder)
            except InputError:
                continue
            assert path.rpartition(".")[2] in LOOSE, path


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "a", "format": "b"}'])
def test_a_plan_file_that_is_no_json_object(folder, content):
    (folder / "plan.json").write_bytes(content)
    with pytest.raises(InputError, match=r"plan file '.*plan\.json'"):
        load_plan(folder)


def test_folders_without_a_plan(tmp_path):
    (tmp_path / "file").touch()
    for name in (".", "missing", "file"):
        with pytest.raises(InputError, match=r"cannot read the plan file '.*plan\.json'"):
            load_plan(tmp_path / name)


def test_a_part_that_was_changed_by_one_bit(folder):
    path = folder / "part-1.server.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"part-1\.server\.onnx' is not the file that was saved.*hash differs"):
        load_plan(folder)


def test_a_part_that_is_missing_or_a_folder(folder):
    (folder / "part-1.server.onnx").unlink()
    with pytest.raises(InputError, match=r"part-1\.server\.onnx' cannot be read: No such file.*save the plan again"):
        load_plan(folder)
    (folder / "part-1.server.onnx").mkdir()
    with pytest.raises(InputError, match=r"part-1\.server\.onnx' cannot be read"):
        load_plan(folder)


def test_a_part_of_another_plan(folder, tmp_path):
    other = partition(relu_chain(4), "wifi", cut=["t2"]).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "part-1.server.onnx", folder)
    with pytest.raises(InputError, match=r"part-1\.server\.onnx' is not the file that was saved with this plan"):
        load_plan(folder)
    # Even where somebody writes the other file's hash into the plan, its tensors do not fit.
    change(folder, "parts.1.sha256", other.parts[1].sha256)
    with pytest.raises(InputError, match=r"part-1\.server\.onnx reads tensor 't2', which no earlier part puts out"):
        load_plan(folder).session()


def test_a_folder_that_came_to_hold_another_model(folder, tmp_path):
    """The older plan object still points there, and must not take the other model's parts for its own."""
    older = load_plan(folder)
    newer = partition(relu_chain(4), "wifi", cut=["t2"]).save(folder, overwrite=True)
    assert [part.file for part in older.parts] == [part.file for part in newer.parts]
    named = r"part '.*part-0\.device\.onnx' is not the file that was saved with this plan"
    for use in (older.session, lambda: older.verify(relu_chain(4)), lambda: older.save(tmp_path / "other")):
        with pytest.raises(InputError, match=named):
            use()
    with pytest.raises(InputError, match=named):
        older.save(folder, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert load_plan(folder).to_json() == newer.to_json()


def test_outputs_that_no_part_puts_out(folder):
    change(folder, "model.outputs.0.name", "nowhere")
    with pytest.raises(InputError, match="output 'nowhere' of the model comes out of no part"):
        load_plan(folder).session()


def test_verifying_against_the_wrong_model(folder, tmp_path):
    import onnx

    plan = load_plan(folder)
    with pytest.raises(InputError, match=r"was made from a model in memory; pass the whole model \(--model FILE\)"):
        plan.verify()
    onnx.save(relu_chain(4), tmp_path / "right.onnx")
    onnx.save(relu_chain(5), tmp_path / "wrong.onnx")
    assert plan.verify(tmp_path / "right.onnx").ok
    with pytest.raises(InputError, match=r"wrong\.onnx' is not the one that this plan was made for"):
        plan.verify(tmp_path / "wrong.onnx")


def test_verification_finds_other_weights(tmp_path):
    """The structure's hash leaves large weights out, so it is the outputs that tell."""
    import onnx

    def scaled_by(factor):
        weights = {"w": np.full((64, 64), factor, dtype=np.float32)}
        nodes = [node("MatMul", "x w", "t"), node("Tanh", "t", "y")]
        return model(nodes, {"x": (1, 64)}, [value("y", [1, 64])], weights)

    onnx.save(scaled_by(0.5), tmp_path / "changed.onnx")
    partition(scaled_by(0.01), "wifi", cut=["t"]).save(tmp_path / "out")
    verification = load_plan(tmp_path / "out").verify(tmp_path / "changed.onnx")
    assert not verification.ok
    assert not verification.bit_identical
    assert verification.max_relative_error > 1e-2
    assert "DIFFERENT" in str(verification)
    assert verification.to_json()["ok"] is False


def test_a_plan_of_timings_keeps_where_they_come_from(light_graph, tmp_path):
    graph = light_graph("squeezenet")
    saved = partition(graph, "wifi", device=timings_of(graph, 1e-3, "mine")).save(tmp_path / "out")
    loaded = load_plan(saved.source)
    assert (loaded.device.name, loaded.device.kind) == ("mine", "measured")
    assert loaded.server.kind == "datasheet-roofline"
