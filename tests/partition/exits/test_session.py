"""Sessions answer what the whole model's exits answer, stop where they are confident, and send only what they must."""

import time

import numpy as np
import pytest

from partition import InputError
from partition.exits.calibrate import calibrate_exits
from partition.exits.choice import choose_exit
from partition.exits.confidence import confidence_of
from partition.exits.policy import load_exit_policy
from partition.exits.session import ExitSession
from partition.remote.options import RemoteOptions
from partition.serve import Limits, Server
from tests.models import model, node
from tests.partition.exits.families import answers, branchy, rows, single
from tests.partition.exits.policies import deciding_policy
from tests.scale import scaled


def several():
    return {"small": single(1, 4, name="small"), "large": single(2, 24, name="large")}


@pytest.fixture(scope="module", params=["joint", "several"])
def remote(request):
    models = branchy() if request.param == "joint" else several()
    return models, deciding_policy(models)


@pytest.fixture(scope="module")
def saved(remote, tmp_path_factory):
    return remote[1].save(tmp_path_factory.mktemp("session") / "out")


def expected(models, policy, inputs):
    """Follow the thresholds on the outputs of the whole models."""
    whole = {}
    for name in policy.exits:
        if isinstance(models, dict):
            whole[name] = answers(models[name], inputs)["logits"]
        else:
            whole[name] = answers(models, inputs)[name]
    for head in policy.heads:
        if confidence_of(whole[head.exit], policy.confidence) >= head.threshold:
            return head.exit, whole[head.exit]
    return policy.final, whole[policy.final]


@pytest.mark.parametrize("kind", ["unsaved", "loaded"])
def test_answers_are_those_of_the_whole_models(remote, saved, kind):
    models, policy = remote
    used = policy if kind == "unsaved" else load_exit_policy(saved.source)
    seen = set()
    with used.session(threads=1) as session:
        for inputs, _ in rows(scaled(40, 400), seed=11):
            result = session.run(inputs)
            exit_name, output = expected(models, policy, inputs)
            assert result.exit == exit_name
            np.testing.assert_allclose(result.output, output, rtol=1e-5, atol=1e-6)
            assert result.stopped == (exit_name != policy.final)
            assert list(result.outputs)[-1] == exit_name
            assert len(result.confidences) == len(result.outputs) - (not result.stopped)
            assert result.latency_s > 0
            seen.add(result.exit)
        assert len(session.records) == scaled(40, 400)
        last = session.last
        assert (last.exit, last.stopped) == (result.exit, result.stopped)
        assert last.to_json()["confidences"] == result.confidences
        assert last.predicted_s in policy.stop_latency_s
    assert policy.final in seen
    assert len(seen) > 1


def test_shares_are_those_of_the_data(remote):
    _, policy = remote
    with policy.session(threads=1) as session:
        stopped = [session.run(inputs).exit for inputs, _ in rows(60)]
    names = (*policy.device_exits, policy.final)
    assert policy.shares == pytest.approx([stopped.count(name) / 60 for name in names])


@pytest.mark.parametrize("hold", ["all", "own"])
def test_nothing_is_sent_where_an_exit_answers(saved, hold):
    """The server counts what reaches it."""
    policy = load_exit_policy(saved.source)
    with Server([saved.source / "rest"], threads=1, limits=Limits(concurrency=1)) as server:
        options = RemoteOptions(hold=hold, stale_s=1e5)
        with policy.session(server=server.url, options=options, threads=1) as session:
            opened = answered(server)
            for inputs, _ in rows(scaled(40, 200), seed=11):
                before = len(session.rest.records)
                result = session.run(inputs)
                assert len(session.rest.records) - before == (not result.stopped)
                assert (session.last.rest is None) == result.stopped
            stopped = [one.stopped for one in session.records]
            assert any(stopped)
            assert not all(stopped)
            assert session.rest.is_remote
            asked = opened + stopped.count(False)
            # The server counts a moment after it has answered.
            for _ in range(200):
                if answered(server) >= asked:
                    break
                time.sleep(0.01)
            time.sleep(0.05)
            assert answered(server) == asked


def answered(server):
    """Return how many requests of any kind a server has answered."""
    return sum(server._service.statistics._answers.values())


def test_what_the_server_does_not_answer_is_finished_here(remote, saved):
    models, policy = remote
    loaded = load_exit_policy(saved.source)
    with Server([saved.source / "rest"], threads=1, limits=Limits(concurrency=1)) as server:
        session = loaded.session(server=server.url, options=RemoteOptions(shortest_timeout_s=0.2), threads=1)
    with session:
        for inputs, _ in rows(6, seed=11):
            result = session.run(inputs)
            exit_name, output = expected(models, policy, inputs)
            assert result.exit == exit_name
            np.testing.assert_allclose(result.output, output, rtol=1e-5, atol=1e-6)


def test_a_policy_that_stays_here_runs_with_and_without_heads():
    table = calibrate_exits(branchy(), rows(40))
    for policy in (deciding_policy(branchy(), remote=False), choose_exit(branchy(), "1kbps", exits=table, accuracy=0)):
        assert not policy.plan.cut
        with policy.session(threads=1) as session:
            for inputs, _ in rows(5):
                assert session.run(inputs).exit == expected(branchy(), policy, inputs)[0]


def test_models_with_tensors_of_one_name_do_not_mix():
    """The second model reads an input of the name that the first one's output has."""
    weights = {"w": np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)}
    nodes = [node("Add", "x logits", "sum"), node("MatMul", "sum w", "y")]
    models = {
        "small": single(1, 4, name="small"),
        "large": model(nodes, {"x": [1, 8], "logits": [1, 8]}, ["y"], weights),
    }
    draw = np.random.default_rng(5)
    data = [({key: draw.standard_normal((1, 8)).astype(np.float32) for key in ("x", "logits")}, 0) for _ in range(40)]
    policy = deciding_policy(models, data=data)
    assert policy.input_names == ("x", "logits")
    with policy.session(threads=1) as session:
        seen = {session.run(inputs).exit for inputs, _ in data}
        for inputs, _ in data:
            result = session.run(inputs)
            wanted = answers(models[result.exit], inputs)["y" if result.exit == "large" else "logits"]
            np.testing.assert_allclose(result.output, wanted, rtol=1e-5, atol=1e-6)
    assert seen == {"small", "large"}


def test_a_closed_session_says_so(saved):
    session = load_exit_policy(saved.source).session(threads=1)
    session.close()
    with pytest.raises(InputError, match="this session is closed"):
        session.run(rows(1)[0][0])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "input 'x' is missing"),
        ({"x": np.zeros((1, 8), np.float32), "y": np.zeros(1)}, "input 'y' is not in the model"),
        ({"x": np.zeros((1, 8))}, "has type float64"),
        ({"x": np.zeros((1, 9), np.float32)}, "has shape"),
        ({"x": [[0.0] * 8]}, "is a list"),
    ],
)
def test_inputs_that_the_models_do_not_take_are_refused(saved, inputs, words):
    with load_exit_policy(saved.source).session(threads=1) as session, pytest.raises(InputError, match=words):
        session.run(inputs)


def test_an_output_with_nan_is_refused(saved):
    with load_exit_policy(saved.source).session(threads=1) as session:
        with pytest.raises(InputError, match=r"its output '.*' holds NaN or infinity, of which no confidence"):
            session.run({"x": np.full((1, 8), np.nan, np.float32)})
        assert session.run(rows(1)[0][0]).output.shape == (1, 3)
        assert len(session.records) == 1


def test_what_belongs_to_a_server_needs_one(remote):
    _, policy = remote
    with pytest.raises(InputError, match="token, ca_file and options belong to a server"):
        policy.session(token="secret")
    with pytest.raises(InputError, match="was not saved"):
        policy.session(server="http://127.0.0.1:9")
    with pytest.raises(InputError, match="threads"):
        policy.session(threads=0)


def test_an_emulated_device_waits_for_each_head(saved):
    policy = load_exit_policy(saved.source)
    ran = []

    def on_device(work):
        work()
        ran.append(1)

    with ExitSession(policy, policy.plan.session(threads=1), threads=1, on_device=on_device) as session:
        result = session.run(rows(1)[0][0])
    assert len(ran) == len(result.confidences)


def test_a_batch_stops_where_its_least_confident_row_is_confident():
    whole = branchy("batch")
    policy = deciding_policy(whole)
    singles = [inputs["x"] for inputs, _ in rows(30, seed=4)]
    with policy.session(threads=1) as session:
        alone = [session.run({"x": one}) for one in singles]
        for first in range(0, 30, 3):
            batch = session.run({"x": np.concatenate(singles[first : first + 3])})
            least = min(one.confidences[0] for one in alone[first : first + 3])
            assert batch.confidences[0] == pytest.approx(least, rel=1e-5)
            assert batch.output.shape == (3, 3)


def test_a_model_of_two_outputs_hands_out_its_exit_alone():
    nodes = [node("MatMul", "x w", "h"), node("Tanh", "h", "y")]
    proto = model(nodes, {"x": [1, 8]}, ["y", "h"], {"w": np.eye(8, 3, dtype=np.float32)})
    table = calibrate_exits({"only": proto}, rows(5))
    policy = choose_exit({"only": proto}, "1Mbps", exits=table, deadline="1s")
    with policy.session(threads=1) as session:
        assert list(session.run(rows(1)[0][0]).outputs) == ["only"]
