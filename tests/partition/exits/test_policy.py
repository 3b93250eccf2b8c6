"""A policy as a folder: saved and loaded whole, and refused where anything in it is damaged, missing or another's."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from partition import InputError, load_plan
from partition.exits.calibrate import calibrate_exits
from partition.exits.choice import choose_exit
from partition.exits.policy import is_policy_folder, load_exit_policy, served_folder
from tests.partition.conftest import entries
from tests.partition.exits.families import branchy, rows, single
from tests.partition.exits.policies import deciding_policy


@pytest.fixture(scope="module")
def policy():
    """Return a policy with two exits on the device."""
    found = deciding_policy(branchy())
    assert found.device_exits == ("early", "middle")
    return found


@pytest.fixture(scope="module")
def saved(policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies") / "out"
    policy.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """Return a copy of the saved folder, and a function that changes its manifest."""
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)

    def change(work):
        path = folder / "policy.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        work(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return folder, change


def test_the_folder_holds_heads_rest_and_manifest(policy, saved):
    assert policy.heads
    assert entries(saved) == [*(f"head-{number}.onnx" for number in range(len(policy.heads))), "policy.json", "rest"]
    assert "plan.json" in entries(saved / "rest")
    assert entries(saved.parent) == ["out"]
    assert load_plan(saved / "rest").model.output_names == (policy.final_output,)


def test_what_is_loaded_is_what_was_saved(policy, saved):
    loaded = load_exit_policy(saved)
    assert json.loads(json.dumps(loaded.to_json())) == json.loads((saved / "policy.json").read_text(encoding="utf-8"))
    assert load_exit_policy(saved / "policy.json").to_json() == loaded.to_json()
    for name in ("thresholds", "shares", "stop_latency_s", "accuracy", "tradeoff", "way", "expected_latency_s"):
        assert getattr(loaded, name) == getattr(policy, name)
    assert loaded.inputs == policy.inputs
    assert str(loaded).splitlines()[0] == str(policy).splitlines()[0]
    assert repr(loaded) == repr(policy)


def test_a_loaded_policy_is_saved_again(saved, tmp_path):
    again = load_exit_policy(saved).save(tmp_path / "again")
    changed = {"plan_sha256": None}
    assert again.to_json() | changed == load_exit_policy(saved).to_json() | changed
    assert load_exit_policy(tmp_path / "again").plan.source == tmp_path / "again" / "rest"
    for head in again.heads:
        assert (tmp_path / "again" / head.part.file).read_bytes() == (saved / head.part.file).read_bytes()


def test_an_earlier_policy_alone_is_replaced(policy, copy):
    folder, _ = copy
    with pytest.raises(InputError, match="exists; choose another, or pass --force"):
        policy.save(folder)
    policy.save(folder, overwrite=True)
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds 'notes.txt', which no policy wrote"):
        policy.save(folder, overwrite=True)
    (folder / "notes.txt").unlink()
    (folder / "rest" / "mine.bin").touch()
    with pytest.raises(InputError, match=r"holds 'mine.bin', which no plan wrote"):
        policy.save(folder, overwrite=True)
    assert load_exit_policy(folder).final == policy.final


def test_a_folder_of_a_plan_is_not_replaced(policy, saved, tmp_path):
    shutil.copytree(saved / "rest", tmp_path / "plan")
    with pytest.raises(InputError, match="which no policy wrote"):
        policy.save(tmp_path / "plan", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        policy.save(tmp_path / "file", overwrite=True)


def test_what_fails_leaves_nothing(policy, tmp_path, monkeypatch):
    from partition.exits import policy_folder

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy_folder, "write_json", fail)
    with pytest.raises(InputError, match="No space left"):
        policy.save(tmp_path / "deep" / "out")
    assert entries(tmp_path) == []


def test_folders_are_told_apart(saved, tmp_path):
    assert is_policy_folder(saved)
    assert is_policy_folder(saved / "policy.json")
    assert not is_policy_folder(saved / "rest")
    assert served_folder(saved) == served_folder(saved / "policy.json") == saved / "rest"
    assert served_folder(tmp_path) == tmp_path


def put(*path_and_value):
    """Return what sets one field of a manifest."""
    *path, last, value = path_and_value

    def work(content):
        for key in path:
            content = content[key]
        content[last] = value

    return work


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (put("format", "dnn-partition/plan"), "has the format 'dnn-partition/plan'"),
        (put("version", 2), "version 2"),
        (put("confidence", "entropy"), "'confidence' is 'entropy'"),
        (put("more", 1), "unknown field 'more'"),
        (put("rest_share", 0.9999), "what the shares of the heads leave of 1"),
        (put("accuracy", 1.5), "'accuracy' is 1.5"),
        (put("margin", 2.0), "'margin' is 2.0"),
        (put("accuracy_source", "guessed"), "'accuracy_source' is 'guessed'"),
        (put("final_output", "lost"), "an output of the rest"),
        (put("final", "lost"), "exits of the family, each once and in its order"),
        (put("exits", ["late", "middle", "early"]), "exits of the family, each once and in its order"),
        (put("inputs", ["y"]), "what heads and rest read and no head puts out: x"),
        (put("heads", 0, "threshold", "high"), r"'heads\[0\].threshold' is 'high'"),
        (put("heads", 0, "share", -0.1), r"'heads\[0\].share' is -0.1"),
        (put("heads", 0, "output", "lost"), r"'heads\[0\].output' is 'lost'"),
        (put("heads", 0, "stop_latency_s", 99.0), "latencies that rise from exit to exit"),
        (put("heads", 0, "part", "file", "../head-0.onnx"), "is a path; parts lie in the plan's own folder"),
        (put("heads", 0, "part", "file", "/etc/hosts"), "is a path; parts lie in the plan's own folder"),
        (put("heads", 0, "part", "file", "rest/plan.json"), "is a path; parts lie in the plan's own folder"),
        (put("heads", 0, "part", "file", "policy.json"), "is not the file that was saved"),
        (put("heads", 0, "part", "file", "lost.onnx"), "cannot be read"),
        (put("heads", 0, "part", "sha256", "0" * 64), "is not the file that was saved"),
        (put("tradeoff", 0, "thresholds", [1, 2, 3, 4]), "for each of the exits of the device"),
        (put("plan_sha256", "0" * 64), "is not the one that was saved with this policy"),
        (put("tradeoff", 0, "thresholds", [10**400]), "for each of the exits of the device"),
        (put("heads", 0, "threshold", 10**400), "a number that is too large"),
        (put("tradeoff", [7]), "expected an object"),
        (put("tradeoff", []), "'tradeoff' is .*, expected at least one policy"),
        (put("heads", 7), "a list of objects"),
    ],
)
def test_a_damaged_manifest_is_refused(copy, work, words):
    folder, change = copy
    change(work)
    with pytest.raises(InputError, match=words):
        load_exit_policy(folder)


def test_two_heads_of_one_file_are_refused(copy):
    folder, change = copy
    change(put("heads", 1, "part", "file", "head-0.onnx"))
    with pytest.raises(InputError, match="another file than those of the heads before"):
        load_exit_policy(folder)


def test_cut_short_is_refused(copy):
    folder, _ = copy
    path = folder / "policy.json"
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="policy file"):
            load_exit_policy(folder)
    path.unlink()
    with pytest.raises(InputError, match="cannot read the policy file"):
        load_exit_policy(folder)


def test_a_head_that_is_missing_or_changed_is_refused(copy):
    folder, _ = copy
    path = folder / "head-0.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="is not the file that was saved"):
        load_exit_policy(folder)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_exit_policy(folder)


def test_the_rest_of_another_policy_is_refused(copy, tmp_path):
    folder, _ = copy
    shutil.rmtree(folder / "rest")
    with pytest.raises(InputError, match="plan file"):
        load_exit_policy(folder)
    # One whose whole model is the rest, and one of the same inputs and output.
    for models, words in (({"a": single(1, 6, name="a")}, "an output of the rest"), (branchy(), "its hash differs")):
        table = calibrate_exits(models, rows(5))
        other = choose_exit(models, "1Mbps", exits=given_best(table), accuracy=1.0).save(tmp_path / words)
        assert not other.heads
        shutil.copytree(tmp_path / words / "rest", folder / "rest")
        with pytest.raises(InputError, match=words):
            load_exit_policy(folder)
        shutil.rmtree(folder / "rest")


def given_best(table):
    """Return the table with given accuracies, of which the last one is the best."""
    exits = [replace(one, accuracy=0.5, source="given", scores=None, confidences=None) for one in table.exits]
    exits[-1] = replace(exits[-1], accuracy=1.0)
    return replace(table, exits=tuple(exits), data=None, n_inputs=0)


def test_a_head_of_a_loaded_policy_that_changes_is_not_opened(copy):
    folder, _ = copy
    loaded = load_exit_policy(folder)
    with open(folder / "head-0.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match="is not the file that was saved"):
        loaded.session(threads=1)


def test_the_text_tells_what_happens(policy):
    text = str(policy)
    assert text.startswith(f"branchy: answer by {policy.heads[0].exit} if its confidence is ")
    for words in ("expected", "for the slowest way", "accuracy", "measured on 60 inputs", "trade-off:", "The rest"):
        assert words in text
    assert all(name in text for name in policy.device_exits)
    assert np.isfinite(policy.expected_latency_s)
