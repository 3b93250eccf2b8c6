"""A plan's folder appears whole or not at all, and takes the place of an earlier plan only."""

import contextlib
import os
import stat
from pathlib import Path

import onnxruntime
import pytest

from partition import InputError, load_plan, partition
from tests.models import relu_chain
from tests.partition.conftest import entries


@pytest.fixture
def plan():
    return partition(relu_chain(), "wifi", cut=["t0"])


@pytest.fixture
def other():
    return partition(relu_chain(), "wifi", cut=["y"])


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_an_existing_folder_is_refused(plan, tmp_path):
    for name in ("empty", "file", "link", "dangling"):
        path = tmp_path / name
        if name == "empty":
            path.mkdir()
        elif name == "file":
            path.touch()
        else:
            path.symlink_to(tmp_path / ("empty" if name == "link" else "nowhere"))
        before = entries(tmp_path)
        with pytest.raises(InputError, match=rf"output folder '.*{name}' exists; choose another"):
            plan.save(path)
        assert entries(tmp_path) == before
    assert entries(tmp_path / "empty") == []


def test_missing_parents_are_made(plan, tmp_path):
    saved = plan.save(tmp_path / "a" / "b" / "out")
    assert load_plan(tmp_path / "a" / "b" / "out").to_json() == saved.to_json()


def test_the_permissions_are_the_usual_ones(plan, tmp_path):
    plan.save(tmp_path / "out")
    (tmp_path / "usual").mkdir()
    (tmp_path / "file").touch()
    usual_folder, usual_file = ((tmp_path / name).stat().st_mode for name in ("usual", "file"))
    assert (tmp_path / "out").stat().st_mode == usual_folder
    assert {path.stat().st_mode for path in (tmp_path / "out").iterdir()} == {usual_file}


def test_overwrite_replaces_an_earlier_plan_whole(plan, other, tmp_path):
    plan.save(tmp_path / "out")
    assert entries(tmp_path / "out") == ["part-0.device.onnx", "part-1.server.onnx", "plan.json"]
    saved = other.save(tmp_path / "out", overwrite=True)
    assert entries(tmp_path / "out") == ["part-0.device.onnx", "plan.json"]
    assert load_plan(tmp_path / "out").to_json() == saved.to_json()
    assert entries(tmp_path) == ["out"]


def test_a_plan_may_replace_the_folder_that_it_was_loaded_from(plan, tmp_path):
    saved = plan.save(tmp_path / "out")
    again = load_plan(tmp_path / "out").save(tmp_path / "out", overwrite=True)
    assert again.to_json() == saved.to_json()
    assert load_plan(tmp_path / "out").to_json() == saved.to_json()


def test_overwrite_fills_an_empty_folder(plan, tmp_path):
    (tmp_path / "out").mkdir()
    plan.save(tmp_path / "out", overwrite=True)
    load_plan(tmp_path / "out")


@pytest.mark.parametrize("foreign", ["notes.txt", ".git", "part-9.txt", "part-0.device.onnx.bak"])
def test_overwrite_refuses_a_folder_with_anything_else(plan, other, foreign, tmp_path):
    plan.save(tmp_path / "out")
    (tmp_path / "out" / foreign).write_text("mine", encoding="utf-8")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=f"holds '{foreign}', which no plan wrote, so it is not replaced"):
        other.save(tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before
    assert entries(tmp_path) == ["out"]


def test_overwrite_refuses_models_without_a_plan(plan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-of-my-work.onnx").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds 'part-of-my-work\.onnx', which no plan wrote"):
        plan.save(tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == {"part-of-my-work.onnx": b"mine"}


def test_overwrite_refuses_a_folder_inside_that_is_named_like_a_part(plan, tmp_path):
    plan.save(tmp_path / "out")
    (tmp_path / "out" / "part-7.onnx").mkdir()
    with pytest.raises(InputError, match=r"holds 'part-7\.onnx'"):
        plan.save(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize(
    "content",
    [
        '{"plan": "of my holidays"}',
        '{"format": "other", "parts": []}',
        '{"format": "dnn-partition/plan"}',
        "[]",
        "mine",
    ],
)
def test_overwrite_refuses_another_file_called_plan_json(plan, content, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"holds 'plan\.json', which no plan wrote, so it is not replaced"):
        plan.save(tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == {"plan.json": content.encode()}


def test_overwrite_refuses_a_model_that_the_plan_does_not_name(plan, other, tmp_path):
    plan.save(tmp_path / "out")
    (tmp_path / "out" / "part-9.device.onnx").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds 'part-9\.device\.onnx', which no plan wrote"):
        other.save(tmp_path / "out", overwrite=True)


def test_a_part_never_replaces_the_folder_that_it_lies_in(plan, command, tmp_path):
    plan.save(tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "link.onnx").symlink_to(Path("out") / "part-1.server.onnx")
    for name in ("out/part-1.server.onnx", "link.onnx"):
        part = partition(tmp_path / name, "wifi")
        with pytest.raises(InputError, match=r"which is the model's own, so it is not replaced; choose another"):
            part.save(tmp_path / "out", overwrite=True)
        done = command("split", name, "-b", "wifi", "-o", "out", "--force")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is the model's own" in done.err
        done = command("parts", name, "--at", "t1", "-o", "out", "--force")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is the model's own" in done.err
    assert contents(tmp_path / "out") == before
    assert entries(tmp_path) == ["link.onnx", "out"]


def test_what_comes_up_while_writing_is_not_replaced(plan, tmp_path, monkeypatch):
    opened = onnxruntime.InferenceSession

    def open_and_come_up(*arguments, **more):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "mine.txt").touch()
        return opened(*arguments, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_and_come_up)
    for overwrite, named in ((False, "exists"), (True, "holds 'mine.txt'")):
        with pytest.raises(InputError, match=named):
            plan.save(tmp_path / "out", overwrite=overwrite)
        assert entries(tmp_path) == ["out"]
        (tmp_path / "out" / "mine.txt").unlink()
        (tmp_path / "out").rmdir()


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_overwrite_refuses_what_is_no_folder(plan, other, kind, tmp_path):
    target = tmp_path / "out"
    plan.save(tmp_path / "earlier")
    if kind == "file":
        target.write_text("mine", encoding="utf-8")
    else:
        target.symlink_to(tmp_path / ("earlier" if kind == "link" else "nowhere"))
    before = contents(tmp_path / "earlier")
    with pytest.raises(InputError, match="is not a folder, so it is not replaced"):
        other.save(target, overwrite=True)
    assert contents(tmp_path / "earlier") == before
    assert entries(tmp_path) == ["earlier", "out"]
    assert target.is_symlink() == (kind != "file")


def test_places_that_cannot_be_written(plan, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"output folder '.*' cannot be written: "):
            plan.save(path)
    assert entries(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_parent(plan, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(InputError, match="cannot be written: Permission denied"):
            plan.save(tmp_path / "out")
    finally:
        tmp_path.chmod(stat.S_IRWXU)
    assert entries(tmp_path) == []


# --- failures in the middle -------------------------------------------------------------------------------------------


class Failing:
    """Stands in for a function: lets some calls through and then raises."""

    def __init__(self, function, error, after):
        self.function, self.error, self.left = function, error, after

    def __call__(self, *arguments, **more):
        if self.left == 0:
            raise self.error
        self.left -= 1
        return self.function(*arguments, **more)

    def bound(self):
        """Return a function, which a class turns into a method."""
        return lambda *arguments, **more: self(*arguments, **more)


ERRORS = (OSError(28, "No space left on device"), RuntimeError("the runtime gave up"), KeyboardInterrupt())


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["open", "write"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_while_writing_leaves_nothing_behind(plan, other, step, error, after, earlier, tmp_path, monkeypatch):
    target = tmp_path / "out"
    if earlier:
        other.save(target)
    before = contents(target) if earlier else None
    if step == "open":
        monkeypatch.setattr(onnxruntime, "InferenceSession", Failing(onnxruntime.InferenceSession, error, after))
    else:
        write = Path.write_bytes
        monkeypatch.setattr(Path, "write_bytes", Failing(write, error, after).bound())
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else (InputError, RuntimeError)
    with pytest.raises(expected):
        plan.save(target, overwrite=True)
    monkeypatch.undo()
    assert entries(tmp_path) == (["out"] if earlier else [])
    if earlier:
        assert contents(target) == before
        load_plan(target)


def test_a_part_that_the_runtime_refuses_is_named(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", Failing(None, RuntimeError("bad\nworse"), 0))
    with pytest.raises(InputError, match=r"^part-0\.device\.onnx cannot be opened by onnxruntime.*nothing was written"):
        plan.save(tmp_path / "out")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("after", range(4))
def test_a_failure_while_making_folders_leaves_nothing_behind(
    plan, other, error, earlier, after, tmp_path, monkeypatch
):
    """Also where the interrupt comes just after a folder was made."""
    target = tmp_path / "deep" / "out"
    if earlier:
        other.save(target)
    before = contents(target) if earlier else None
    make, calls = Path.mkdir, []

    def make_and_fail(self, *arguments, **more):
        made = make(self, *arguments, **more)
        calls.append(self)
        if len(calls) == after + 1:
            raise error
        return made

    monkeypatch.setattr(Path, "mkdir", make_and_fail)
    with contextlib.suppress(InputError, RuntimeError, KeyboardInterrupt):
        plan.save(target, overwrite=True)
    monkeypatch.undo()
    if earlier:
        assert entries(tmp_path / "deep") == ["out"]
        assert contents(target) == before or len(calls) <= after
    else:
        assert entries(tmp_path) in ([], ["deep"])
        assert entries(tmp_path) == [] or entries(tmp_path / "deep") == ["out"]


def test_an_earlier_plan_that_cannot_be_put_back_is_kept_and_named(plan, other, tmp_path, monkeypatch):
    other.save(tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(Path, "rename", Failing(Path.rename, OSError(5, "Input/output error"), 1).bound())
    with pytest.raises(InputError, match=r"its earlier plan is now at '.*', move it back") as caught:
        plan.save(tmp_path / "out", overwrite=True)
    monkeypatch.undo()
    kept = Path(str(caught.value).split("'")[3])
    assert contents(kept) == before


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["OSError", "Ctrl-C"])
@pytest.mark.parametrize("call", [0, 1])
def test_a_failure_while_replacing_keeps_the_earlier_plan(plan, other, error, call, tmp_path, monkeypatch):
    other.save(tmp_path / "out")
    before = contents(tmp_path / "out")
    rename, calls = Path.rename, []

    def fail_once(self, target):
        calls.append(target)
        if len(calls) == call + 1:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises((InputError, KeyboardInterrupt)):
        plan.save(tmp_path / "out", overwrite=True)
    monkeypatch.undo()
    assert contents(tmp_path / "out") == before
    assert entries(tmp_path) == ["out"]
