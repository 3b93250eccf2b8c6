"""Plans of a model whose weights lie in a file of their own: beside the model, copied by ranges, linked, checked."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.big_model import write_big_model
from partition import InputError, load_graph, load_plan, partition, weights_store
from tests.partition.conftest import entries
from tests.scale import scaled

CUT = "block0_end"
PARTS = ["part-0.device.onnx", "part-1.server.onnx", "plan.json"]
DIMS = {"seq": 5}
FEEDS = {"x": np.random.default_rng(1).standard_normal((2, 7, 64)).astype(np.float32)}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "model").mkdir()
    return write_big_model(tmp_path / "model", width=64, n_blocks=2, n_heads=4, numbers=True)


@pytest.fixture
def plan(path):
    return partition(path, "wifi", dims=DIMS, cut=[CUT])


def whole(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], FEEDS)[0]


def of_parts(plan):
    with plan.session(threads=1) as session:
        return session.run(FEEDS)["y"]


def assert_right(plan, path):
    expected = whole(path)
    assert np.abs(of_parts(plan) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_plan_that_is_not_saved_runs_and_verifies(plan, path):
    assert_right(plan, path)
    verification = plan.verify(threads=1)
    assert verification.ok
    assert verification.depends_on_input


def test_beside_the_model_nothing_is_copied(plan, path):
    data = path.with_name("big.onnx_data")
    before = (path.read_bytes(), data.read_bytes())
    saved = plan.save(path.parent)
    assert entries(path.parent) == sorted(["big.onnx", "big.onnx_data", *PARTS])
    assert (path.read_bytes(), data.read_bytes()) == before
    for part in saved.parts:
        assert [(one.file, one.size_bytes, one.own, one.sha256) for one in part.weights_files] == [
            ("big.onnx_data", data.stat().st_size, False, None)
        ]
        assert part.file_bytes < 20_000
    loaded = load_plan(path.parent)
    assert loaded.to_json() == saved.to_json()
    assert_right(loaded, path)
    assert loaded.verify(threads=1).ok


def test_another_folder_gets_each_parts_ranges_alone(plan, path, tmp_path):
    told = []
    saved = plan.save(tmp_path / "out", progress=told.append)
    names = [file for part in PARTS[:2] for file in (part, part.replace(".onnx", ".weights"))]
    assert entries(tmp_path / "out") == sorted([*names, "plan.json"])
    total = path.with_name("big.onnx_data").stat().st_size
    sizes = [one.size_bytes for part in saved.parts for one in part.weights_files]
    assert sum(sizes) < total
    assert max(sizes) < 0.6 * total
    assert told == sorted(told)
    assert told[-1] == 1.0
    path.with_name("big.onnx_data").rename(tmp_path / "away")
    result = of_parts(load_plan(tmp_path / "out"))
    (tmp_path / "away").rename(path.with_name("big.onnx_data"))
    assert np.array_equal(result, of_parts(plan))
    assert_right(saved, path)


@pytest.mark.parametrize("kernel", [True, False])
def test_large_copies_are_made_in_blocks(kernel, plan, path, tmp_path, monkeypatch):
    """Of every size, and where the system copies nothing itself, as on a disk of another kind."""
    expected = plan.save(tmp_path / "plain")
    monkeypatch.setattr(weights_store, "_LARGEST_CALL_BYTES", 1000)
    monkeypatch.setattr(weights_store, "_BUFFER_BYTES", 1000)
    if not kernel:

        def refuse(*_):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    told = []
    plan.save(tmp_path / "out", progress=told.append)
    assert len(told) > 100
    for part in expected.parts:
        for name in (part.file, part.weights_files[0].file):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_a_loaded_plan_saves_again(plan, path, tmp_path):
    for source in (path.parent, tmp_path / "first"):
        saved = plan.save(source)
        again = load_plan(source).save(tmp_path / "again", overwrite=True)
        assert_right(load_plan(tmp_path / "again"), path)
        assert [one.own for part in again.parts for one in part.weights_files] == [True, True]
    assert again.to_json() == saved.to_json()


def test_saving_over_the_earlier_plan_leaves_no_file_of_it(plan, path, tmp_path):
    saved = plan.save(tmp_path / "out")
    load_plan(tmp_path / "out").save(tmp_path / "out", overwrite=True)
    assert load_plan(tmp_path / "out").to_json() == saved.to_json()
    partition(path, "wifi", dims=DIMS, cut=["y"]).save(tmp_path / "out", overwrite=True)
    assert entries(tmp_path / "out") == ["part-0.device.onnx", "part-0.device.weights", "plan.json"]


def test_hard_links_on_request(plan, path, tmp_path):
    saved = plan.save(tmp_path / "out", link_weights=True)
    data = path.with_name("big.onnx_data")
    assert data.stat().st_nlink == 3
    for part in saved.parts:
        (file,) = part.weights_files
        assert (tmp_path / "out" / file.file).samefile(data)
        assert file.own
    assert_right(load_plan(tmp_path / "out"), path)


def test_links_to_another_disk_are_refused(plan, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=r"cannot be hard-linked.*Invalid cross-device link; leave out --link-weights"):
        plan.save(tmp_path / "out", link_weights=True)
    assert entries(tmp_path) == ["model"]


def test_a_full_disk_is_told_before_anything_is_copied(plan, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(
        InputError, match=r"the weights of the parts take 0\.00 GB, and the disk of .* has room for"
    ) as no:
        plan.save(tmp_path / "deep" / "out")
    assert f"the disk of '{tmp_path / 'deep' / 'out'}' has" in str(no.value)
    assert entries(tmp_path) == ["model"]


# A fresh process: the peak of this one says nothing.
PEAK = """
import sys
from partition import partition
plan = partition(sys.argv[1], "wifi", dims={"seq": 8}, cut=["block0_end"])
for folder in sys.argv[2:]:
    plan.save(folder)
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_weights_are_never_held_in_memory(tmp_path):
    """At 2.3 GB in the full tests, in a file without data; the bar is 300 MB however large the model is."""
    path = write_big_model(tmp_path, width=1600, n_blocks=scaled(3, 19), n_heads=16, numbers=False)
    folders = (tmp_path, tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", PEAK, path, *folders], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 300e6
    for folder in folders:
        plan = load_plan(folder)
        weights = sum(part.weight_bytes for part in plan.parts)
        assert weights == pytest.approx(path.with_name("big.onnx_data").stat().st_size, rel=1e-3)
        assert [one.own for part in plan.parts for one in part.weights_files] == [folder != tmp_path] * 2


# --- beside the model -----------------------------------------------------------------------------------------------


def test_a_second_plan_beside_the_model_needs_force(plan, path):
    plan.save(path.parent)
    other = partition(path, "wifi", dims=DIMS, cut=["y"])
    with pytest.raises(InputError, match=r"is the model's own and holds 'part-0\.device\.onnx' already; choose"):
        other.save(path.parent)
    saved = other.save(path.parent, overwrite=True)
    assert entries(path.parent) == ["big.onnx", "big.onnx_data", "part-0.device.onnx", "plan.json"]
    assert load_plan(path.parent).to_json() == saved.to_json()


@pytest.mark.parametrize("name", PARTS)
def test_foreign_files_beside_the_model_stay(name, plan, path):
    (path.parent / name).write_text("mine", encoding="utf-8")
    before = entries(path.parent)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=f"holds '{name}'"):
            plan.save(path.parent, overwrite=overwrite)
    assert (path.parent / name).read_text(encoding="utf-8") == "mine"
    assert entries(path.parent) == before


def test_a_part_is_split_in_its_own_folder_without_losing_its_files(plan, path, tmp_path):
    """The model is a file of the earlier plan there, so even --force must not replace it."""
    plan.save(tmp_path / "out")
    before = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    part = partition(tmp_path / "out" / "part-0.device.onnx", "wifi", dims=DIMS, cut=["block0_mid"])
    with pytest.raises(InputError, match=r"holds 'part-0\.device\.onnx', which is the model's or which no plan wrote"):
        part.save(tmp_path / "out", overwrite=True)
    assert {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()} == before


def test_a_failure_beside_the_model_takes_everything_back(plan, path, monkeypatch):
    saved = plan.save(path.parent)
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    rename = Path.rename

    def fail(self, target):
        if self.name == "plan.json" and self.parent.name == "new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError, match="cannot be written: Input/output error"):
        plan.save(path.parent, overwrite=True)
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before
    monkeypatch.undo()
    assert load_plan(path.parent).to_json() == saved.to_json()


def test_a_model_without_external_data_does_not_write_into_its_folder(tmp_path, path):
    onnx.save(onnx.load(path), tmp_path / "model" / "inline.onnx")
    inline = partition(tmp_path / "model" / "inline.onnx", "wifi", dims=DIMS, cut=[CUT])
    with pytest.raises(InputError, match="exists; choose another"):
        inline.save(tmp_path / "model")


def test_a_download_cache_of_links(plan, path, tmp_path):
    """There the model and its data are links into a folder of blobs."""
    (tmp_path / "snapshot").mkdir()
    for name, blob in (("big.onnx", "aaa"), ("big.onnx_data", "bbb")):
        (path.parent / name).rename(path.parent / blob)
        (tmp_path / "snapshot" / name).symlink_to(Path("..") / "model" / blob)
    linked = partition(tmp_path / "snapshot" / "big.onnx", "wifi", dims=DIMS, cut=[CUT])
    assert linked.verify(threads=1).ok
    with pytest.raises(InputError, match=r"is the model's own, but its weights lie in .*model'"):
        linked.save(tmp_path / "snapshot")
    saved = linked.save(tmp_path / "out")
    assert load_plan(tmp_path / "out").verify(threads=1).ok
    assert saved.model.structure_sha256 == plan.model.structure_sha256


# --- what is checked ------------------------------------------------------------------------------------------------


def test_weights_of_another_size_are_refused(plan, path, tmp_path):
    plan.save(tmp_path / "out")
    weights = tmp_path / "out" / "part-1.server.weights"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(InputError, match=rf"weights '.*part-1\.server\.weights' have {len(content) - 1} bytes, and"):
        load_plan(tmp_path / "out")
    weights.unlink()
    with pytest.raises(InputError, match=r"part-1\.server\.weights' cannot be read: No such file"):
        load_plan(tmp_path / "out")


@pytest.mark.parametrize("beside", [True, False])
def test_contents_are_checked_on_request(beside, plan, path, tmp_path):
    folder = path.parent if beside else tmp_path / "out"
    plan.save(folder)
    with pytest.raises(InputError, match=r"the plan was saved without their hashes; save it with --hash-weights"):
        load_plan(folder, check_weights=True)
    saved = plan.save(folder, overwrite=True, hash_weights=True)
    assert load_plan(folder, check_weights=True).to_json() == saved.to_json()
    (file,) = saved.parts[0].weights_files
    content = bytearray((folder / file.file).read_bytes())
    content[100] ^= 1
    (folder / file.file).write_bytes(content)
    load_plan(folder)
    with pytest.raises(InputError, match=rf"{file.file}' are not those that were saved with this plan"):
        load_plan(folder, check_weights=True)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link"])
def test_a_plan_whose_weights_lie_elsewhere_is_refused(location, plan, path, tmp_path):
    plan.save(tmp_path / "out")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "secret")
    file = tmp_path / "out" / "plan.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["parts"][0]["weights_files"][0]["file"] = location
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=rf"weights '{location}' of the plan in .* lie outside of the plan's own"):
        load_plan(tmp_path / "out")


def test_data_that_went_away_while_planning(plan, path, tmp_path):
    path.with_name("big.onnx_data").unlink()
    with pytest.raises(InputError, match=r"big\.onnx_data'?[: ].*No such file"):
        plan.save(tmp_path / "out")
    assert entries(tmp_path) == ["model"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_in_place_of_the_data_is_not_waited_for(link, plan, path, tmp_path):
    path.with_name("big.onnx_data").unlink()
    os.mkfifo(path.with_name("big.onnx_data"))
    with pytest.raises(InputError, match=r"big\.onnx_data' cannot be read: not a file any more; load the model again"):
        plan.save(tmp_path / "out", link_weights=link)
    assert entries(tmp_path) == ["model"]


def test_tied_weights_and_a_range_that_two_tensors_share(path, tmp_path):
    """What two parts read each of them gets; what one part reads twice it gets once."""
    proto = onnx.load(path, load_external_data=False)
    first, twin = (
        next(one for one in proto.graph.initializer if one.name == f"block{number}_up_w") for number in (0, 1)
    )
    for entry, other in zip(twin.external_data, first.external_data, strict=True):
        entry.CopyFrom(other)
    path.write_bytes(proto.SerializeToString())
    shared = partition(path, "wifi", dims=DIMS, cut=["x"], output_on="server").save(tmp_path / "one")
    apart = partition(path, "wifi", dims=DIMS, cut=[CUT]).save(tmp_path / "two")
    sizes = [sum(one.size_bytes for part in plan.parts for one in part.weights_files) for plan in (shared, apart)]
    assert sizes[1] - sizes[0] == 4 * 64 * 4 * 64
    for plan in (shared, apart):
        assert_right(load_plan(plan.source), path)


def test_the_same_model_inline_gives_the_same_graph_and_plan(plan, path):
    inline = load_graph(onnx.load(path), dims=DIMS)
    layers = [data["layer"] for _, data in inline.nodes(data=True)]
    assert [data["layer"] for _, data in plan.source.nodes(data=True)] == layers
    assert inline.graph["structure_sha256"] == plan.model.structure_sha256
    other = partition(inline, "wifi", cut=[CUT])
    assert [replace(part, file="") for part in other.parts] == [replace(part, file="") for part in plan.parts]


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_beside_a_model_and_elsewhere(path, tmp_path, command):
    split = ("split", path, "-b", "wifi", "--dim", "seq=5", "--cut", CUT)
    done = command(*split, "-o", path.parent, "--hash-weights")
    assert done.code == 0, done.err
    assert "big.onnx_data  stays as it is, read by this part" in done.out
    assert command("run", path.parent, "--verify", "--check-weights").code == 0
    linked = command(*split, "-o", tmp_path / "linked", "--link-weights")
    assert linked.code == 0, linked.err
    refused = command("run", tmp_path / "linked", "--check-weights")
    assert refused.code == 2
    assert "save it with --hash-weights" in refused.err


def test_a_model_with_external_data_is_profiled(path, tmp_path):
    from partition import measure

    timings = measure(path, dims=DIMS, threads=1)
    assert timings.layers
