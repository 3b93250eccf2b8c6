"""A save that is killed at any moment: the parent process puts back what was there and leaves nothing else behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from partition import InputError, leftovers, load_parts, load_plan, partition, split_model
from partition.command import FORKS
from partition.leftovers import Unfinished, note_in, tidied, tidy_noted
from tests.models import relu_chain, transformer_block
from tests.partition.conftest import Finished, command_environment, entries


def contents(folder):
    """Return every file below a folder, and every folder as None."""
    paths = sorted(Path(folder).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


# --- every moment of a move -------------------------------------------------------------------------------------------


class StopError(Exception):
    """Stands in for a kill: whatever comes after it does not happen."""


@pytest.fixture
def stop_after(monkeypatch):
    """Let so many changes of folders happen, and no more."""

    def install(number):
        left = [number]

        def wrap(function):
            def run(*arguments, **more):
                if left[0] == 0:
                    raise StopError
                left[0] -= 1
                return function(*arguments, **more)

            return run

        for name in ("rename", "mkdir", "rmdir", "unlink"):
            monkeypatch.setattr(os, name, wrap(getattr(os, name)))

    return install


def workspace(place, names):
    made = Unfinished(place / ".work", place, names)
    for name in names:
        (made.new / name).mkdir(parents=True)
        (made.new / name / "file").write_text("new", encoding="utf-8")
    return made


@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("second", range(14))
@pytest.mark.parametrize("replaced", [(), ("a",), ("a", "c")])
def test_a_move_that_stops_anywhere_is_undone_or_done(tmp_path, monkeypatch, stop_after, first, second, replaced):
    """Stopped in the middle, tidied up for a while, stopped again, and tidied up by another process."""
    made = workspace(tmp_path, ("a", "b"))
    for name in replaced:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("old", encoding="utf-8")
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    old = {"mine": b"mine"} | {key: text for name in replaced for key, text in ((name, None), (f"{name}/file", b"old"))}
    new = {"mine": b"mine"} | {key: text for name in "ab" for key, text in ((name, None), (f"{name}/file", b"new"))}
    for number, act in ((first, lambda: made.move_into_place(replaced)), (second, made.tidy)):
        stop_after(number)
        with contextlib.suppress(StopError):
            act()
        monkeypatch.undo()
    made.tidy()
    # One folder made, and a move for each name on either side.
    assert contents(tmp_path) == (new if first >= 1 + len(replaced) + 2 else old)


def test_what_cannot_be_put_back_stays_and_is_named(tmp_path):
    made = workspace(tmp_path, ("a",))
    (tmp_path / "a").write_text("old", encoding="utf-8")
    made.path.joinpath("former").mkdir()
    (tmp_path / "a").rename(made.path / "former" / "a")
    (tmp_path / "a").write_text("another's", encoding="utf-8")
    with pytest.raises(InputError, match=r"another 'a' has come up there\); its earlier plan is now at '.*former/a'"):
        made.tidy()
    assert (made.path / "former" / "a").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "a").read_text(encoding="utf-8") == "another's"


# --- notes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "_notes", None)
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def test_a_library_notes_nothing_and_a_command_only_while_it_saves(tmp_path, notes):
    with tidied(Unfinished(tmp_path / ".draft", tmp_path)):
        assert entries(notes) == []
    note_in(notes)
    one = Unfinished(tmp_path / ".draft", tmp_path, (), (tmp_path / "deep",))
    with tidied(one):
        (note,) = notes.iterdir()
        assert json.loads(note.read_text(encoding="utf-8"))["path"] == str(tmp_path / ".draft")
        (tmp_path / ".draft").touch()
        (tmp_path / "deep").mkdir()
    assert entries(tmp_path) == ["notes"]
    assert entries(notes) == []


def test_notes_are_followed_and_bad_ones_are_not(tmp_path, notes):
    note_in(notes)
    with tidied(Unfinished(tmp_path / ".draft", tmp_path)):
        (note,) = notes.iterdir()
        kept = note.read_bytes()
    (tmp_path / ".draft").touch()
    for number, bad in enumerate((b"", b"{", kept[:-3], b"\xff", b"[]", b"{}", b'{"path": 1}', b"null")):
        (notes / f"{number}.unfinished.json").write_bytes(bad)
    assert tidy_noted(notes) == []
    assert entries(tmp_path) == [".draft", "notes"]
    (notes / "good.unfinished.json").write_bytes(kept)
    assert tidy_noted(notes) == []
    assert entries(tmp_path) == ["notes"]


def test_a_disk_without_room_for_notes_is_no_reason_not_to_save(tmp_path, notes):
    note_in(tmp_path / "missing")
    partition(relu_chain(), "wifi").save(tmp_path / "out")
    assert entries(tmp_path) == ["notes", "out"]


# --- the command ------------------------------------------------------------------------------------------------------

# Runs the command line, which does what the test asks when the runtime opens a part, or at the nth rename of its save.
DRIVER = """
import ctypes, os, pathlib, signal, sys, time
from partition import saved
from partition.command import main
opened, rename, calls = saved._open_once, pathlib.Path.rename, []
def open_once(*arguments, **more):
    opened(*arguments, **more)
    pathlib.Path(os.environ["REACHED"]).touch()
    exec(os.environ["AT_OPEN"])
def rename_and_die(self, target):
    calls.append(self)
    if len(calls) > int(os.environ["RENAMES"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
saved._open_once = open_once
pathlib.Path.rename = rename_and_die
main()
"""


@pytest.fixture
def start(tmp_path):
    """Start the command in a folder with a model; a file says when it is in the middle of its save."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()

    def run(*arguments, at_open="", renames=99):
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            cwd=tmp_path / "here",
            env=command_environment(
                TMPDIR=str(tmp_path / "temporary"),
                REACHED=str(tmp_path / "reached"),
                AT_OPEN=at_open,
                RENAMES=str(renames),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    return run


def finish(process):
    out, err = process.communicate(timeout=60)
    return Finished(process.returncode, out, err)


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


forks = pytest.mark.skipif(not FORKS, reason="the command runs in one process there")
SPLIT = ("split", "m.onnx", "-b", "wifi", "--cut", "t0", "-o")


@forks
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_asked_to_end_while_it_saves(start, tmp_path, name):
    onnx.save(relu_chain(), tmp_path / "here" / "m.onnx")
    process = start(*SPLIT, "deep/er/out", at_open="time.sleep(60)")
    wait_for(tmp_path / "reached")
    process.send_signal(getattr(signal, name))
    assert finish(process) == Finished(-getattr(signal, name), "", "")
    assert entries(tmp_path / "here") == ["m.onnx"]
    assert entries(tmp_path / "temporary") == []


@forks
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "ctypes.string_at(1)"])
def test_killed_or_crashed_while_it_saves(start, tmp_path, end):
    onnx.save(relu_chain(), tmp_path / "here" / "m.onnx")
    (tmp_path / "here" / "deep").mkdir()
    (tmp_path / "here" / "deep" / "mine").touch()
    done = finish(start(*SPLIT, "deep/er/out", at_open=end))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert entries(tmp_path / "here") == ["deep", "m.onnx"]
    assert entries(tmp_path / "here" / "deep") == ["mine"]
    assert entries(tmp_path / "temporary") == []


@forks
@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_while_it_replaces_a_plan(start, tmp_path, renames):
    onnx.save(relu_chain(), tmp_path / "here" / "m.onnx")
    partition(relu_chain(), "wifi", cut=["y"]).save(tmp_path / "here" / "out")
    before = contents(tmp_path / "here")
    done = finish(start(*SPLIT, "out", "--force", renames=renames))
    assert done.code == (0 if renames == 2 else 2), done.err
    assert entries(tmp_path / "temporary") == []
    if renames == 2:
        assert load_plan(tmp_path / "here" / "out").cut == ("t0",)
        assert entries(tmp_path / "here") == ["m.onnx", "out"]
    else:
        assert contents(tmp_path / "here") == before


@forks
@pytest.mark.parametrize("renames", [0, 2, 4, 6])
def test_killed_while_it_replaces_parts_beside_the_model(start, tmp_path, renames):
    """Three files are moved away and four come: what is there after a kill is all of the one or all of the other."""
    here = tmp_path / "here"
    external = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    onnx.save(transformer_block(width=64), here / "m.onnx", **external)
    split_model(here / "m.onnx", ["b0_norm2"]).save(here)
    before = contents(here)
    arguments = ("parts", "m.onnx", "--at", "b0_norm1", "--at", "b1_norm1", "-o", ".", "--force")
    assert finish(start(*arguments, renames=renames)).code == 2
    assert contents(here) == before
    assert entries(tmp_path / "temporary") == []
    assert finish(start(*arguments, renames=7)).code == 0
    assert len(load_parts(here).parts) == 3


@forks
def test_a_draft_of_a_file_goes_with_a_kill(start, tmp_path):
    onnx.save(relu_chain(), tmp_path / "here" / "m.onnx")
    code = DRIVER.replace("main()\n", "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nmain()\n")
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", "m.onnx", "--annotate", "copy.onnx"],
        cwd=tmp_path / "here",
        env=command_environment(TMPDIR=str(tmp_path / "temporary"), AT_OPEN="", REACHED="", RENAMES="99"),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 2
    assert "was killed from outside" in done.stderr
    assert entries(tmp_path / "here") == ["m.onnx"]
    assert entries(tmp_path / "temporary") == []
