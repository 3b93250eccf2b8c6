"""Inputs that travel encoded: the same answers in process, on a server and without it, and whatever may go wrong."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from partition import InputError, load_plan, partition
from partition.adaptation.estimators import LinkEstimator
from partition.emulation.link import EmulatedLink
from partition.emulation.proxy import Proxy
from partition.links import Link
from partition.remote.errors import Refused
from partition.remote.local_parts import LocalParts
from partition.remote.options import RemoteOptions
from partition.serve import Server
from partition.v2.codec import encode_request
from partition.v2.input_codec import InputCodecs, load_codec
from partition.v2.names import stage_interface
from tests.models import relu_chain
from tests.partition.remote.codecs import BYTEWISE, Bytewise, Failing
from tests.partition.serve.conftest import Client

X = np.array([[0.3, -0.7, 0.123, 0.999]], np.float32)
SEEN = BYTEWISE.decode(BYTEWISE.encode(X))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a plan whose input goes up, encoded."""
    folder = tmp_path_factory.mktemp("encoded") / "out"
    partition(relu_chain(4), "wifi", granularity="node", cut=["x"], input_bytes={"x": 12}).save(folder)
    return folder


@pytest.fixture(scope="module")
def server(saved):
    with Server([saved], threads=1, codecs=[BYTEWISE, Bytewise("other")]) as running:
        yield running


def whole(folder, x):
    """Run the parts on an array as it is."""
    plan = load_plan(folder)
    from partition.runtime.parts import open_parts
    from partition.runtime.session import SplitSession

    with SplitSession(plan, open_parts(plan, threads=1)) as session:
        return session.run({"x": x})


def test_without_a_codec_it_is_refused_and_told_how(saved, server):
    plan = load_plan(saved)
    for more in ({}, {"server": server.url}):
        with pytest.raises(InputError, match="codecs="):
            plan.session(**more)
    with pytest.raises(InputError, match="--codec"):
        Server([saved], threads=1)


def test_in_process_the_server_s_parts_see_what_was_decoded(saved):
    plan = load_plan(saved)
    assert not np.array_equal(SEEN, X)
    with plan.session(codecs={"x": BYTEWISE}, threads=1) as session:
        outputs = session.run({"x": X})
        assert session.run_s >= sum(session.part_s) > 0
    for name, wanted in whole(saved, SEEN).items():
        np.testing.assert_array_equal(outputs[name], wanted)


@pytest.mark.parametrize("hold", ["all", "own"])
def test_a_server_computes_the_same(saved, server, hold):
    plan = load_plan(saved)
    wanted = whole(saved, SEEN)
    with plan.session(
        server=server.url, codecs={"x": BYTEWISE}, threads=1, options=RemoteOptions(hold=hold)
    ) as session:
        for _ in range(3):
            outputs = session.run({"x": X})
            np.testing.assert_array_equal(outputs["y"], wanted["y"])
            (visit,) = session.last.visits
            assert visit.fault is None
            assert session.last.stages[1].encode_s > 0
        [again] = session.stream([{"x": X}])
        np.testing.assert_array_equal(again["y"], wanted["y"])


def test_the_device_finishes_with_what_the_server_would_have_seen(saved, server):
    plan = load_plan(saved)
    wanted = whole(saved, SEEN)
    port = int(server.url.rsplit(":", 1)[1])
    options = RemoteOptions(shortest_timeout_s=0.3)
    with (
        Proxy("127.0.0.1", port, EmulatedLink.of(Link.parse("200Mbps", rtt="1ms"))) as proxy,
        plan.session(
            server=f"http://127.0.0.1:{proxy.port}", codecs={"x": BYTEWISE}, threads=1, options=options
        ) as session,
    ):
        proxy.freeze()
        for _ in range(3):
            np.testing.assert_array_equal(session.run({"x": X})["y"], wanted["y"])
        assert session.records[0].fault
        assert session.last.stages[1].ran_on == "device"


def test_a_tensor_that_both_machines_read_is_raw_on_the_device(tmp_path):
    from tests.models import model, node

    proto = model([node("Tanh", "x", "t"), node("Add", "t x", "y")], {"x": (1, 4)}, ["y"])
    plan = partition(proto, "wifi", granularity="node", cut=["t", "x"], input_bytes={"x": 9}).save(tmp_path / "out")
    assert plan.sent_encoded_input == "x"
    wanted = np.tanh(X) + SEEN
    with plan.session(codecs={"x": BYTEWISE}, threads=1) as session:
        np.testing.assert_allclose(session.run({"x": X})["y"], wanted, rtol=1e-6)
    with (
        Server([tmp_path / "out"], threads=1, codecs=[BYTEWISE]) as own,
        load_plan(tmp_path / "out").session(server=own.url, codecs={"x": BYTEWISE}, threads=1) as session,
    ):
        np.testing.assert_allclose(session.run({"x": X})["y"], wanted, rtol=1e-6)
        assert session.last.fault is None
        own.stop()
        np.testing.assert_allclose(session.run({"x": X})["y"], wanted, rtol=1e-6)
        assert session.last.fault


@pytest.mark.parametrize(
    ("codecs", "problem"),
    [
        ({}, "codecs="),
        ({"y": BYTEWISE}, "no input that the plan was priced with as encoded; legal are x"),
        ({"x": object()}, "give an object with a name"),
        ({"x": Bytewise}, "give an object with a name"),
        ({"x": Bytewise("no blanks, please")}, "give an object with a name"),
        ([BYTEWISE], "give a mapping"),
    ],
)
def test_what_is_no_codec(saved, codecs, problem):
    with pytest.raises(InputError, match=problem):
        load_plan(saved).session(codecs=codecs)


def test_a_plan_without_encoded_inputs_takes_no_codecs():
    plan = partition(relu_chain(4), "wifi", granularity="node", cut=["t0"])
    with pytest.raises(InputError, match="leave codecs out"):
        plan.session(codecs={"x": BYTEWISE})


def boom(_):
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("codec", "problem"),
    [
        (Failing(encode=boom), "cannot encode input 'x': RuntimeError: boom"),
        (Failing(encode=lambda _: "text"), "as str, expected bytes"),
        (Failing(decode=boom), "cannot decode input 'x': RuntimeError: boom"),
        (Failing(decode=lambda _: [1.0]), "to list, expected an array"),
        (Bytewise(dtype=np.float64), "decoded input 'x' has type float64"),
        (Bytewise(shape=(4, 1)), r"decoded input 'x' has shape \[4, 1\]"),
    ],
)
def test_a_codec_that_fails_here(saved, codec, problem):
    with load_plan(saved).session(codecs={"x": codec}, threads=1) as session, pytest.raises(InputError, match=problem):
        session.run({"x": X})


def test_a_server_without_that_codec_is_refused_at_connect(saved, server):
    plan = load_plan(saved)
    with pytest.raises(Refused, match=r"does not decode the input 'x' .* by the codec 'unknown'.*'bytewise', 'other'"):
        plan.session(server=server.url, codecs={"x": Bytewise("unknown")})


@pytest.mark.parametrize(
    ("codec", "problem"),
    [
        (Failing(decode=boom), "RuntimeError: boom"),
        (Failing(decode=lambda _: None), "to NoneType, expected an array"),
        (Bytewise(shape=(4,)), "has shape"),
        (Bytewise(dtype=np.float64), "has type float64"),
    ],
)
def test_a_codec_that_fails_on_the_server_costs_an_answer_400_and_no_request(saved, codec, problem):
    plan = load_plan(saved)
    with Server([saved], threads=1, codecs=[codec]) as server:
        with plan.session(server=server.url, codecs={"x": BYTEWISE}, threads=1) as session:
            np.testing.assert_array_equal(session.run({"x": X})["y"], whole(saved, SEEN)["y"])
            assert "answered 400" in session.last.fault
            assert problem in session.last.fault
        with Client(server) as client:
            assert client.get("/v2/health/ready").status == 200


def stage_of(saved):
    plan = load_plan(saved)
    return stage_interface(plan, plan.stages[1].parts).name


def ask(client, name, content, codec="bytewise", **more):
    message = encode_request({}, encoded={"x": (codec, content)}, **more)
    headers = {key: text for key, text in message.headers.items() if key != "Content-Length"}
    return client.ask("POST", f"/v2/models/{name}/infer", b"".join(map(bytes, message.chunks)), **headers)


def test_garbage_is_answered_400_by_the_thousand(saved, server):
    generator = np.random.default_rng(0)
    name = stage_of(saved)
    good = BYTEWISE.encode(X)
    with Client(server) as client:
        for _ in range(300):
            content = generator.bytes(int(generator.integers(0, 64)))
            if generator.random() < 0.3:
                content = good[: int(generator.integers(0, len(good)))]
            answer = ask(client, name, content)
            assert answer.status == 400
            assert "cannot decode input 'x'" in answer.error
        assert ask(client, name, good).outputs["y"].shape == X.shape


def test_what_the_wire_has_to_look_like(saved, server):
    name = stage_of(saved)
    good = BYTEWISE.encode(X)
    with Client(server) as client:
        described = client.get(f"/v2/models/{name}").json["inputs"]
        assert described[0]["parameters"] == {"codecs": "bytewise,other"}
        assert described[0]["datatype"] == "FP32"
        assert ask(client, name, good, "other").status == 200
        answer = ask(client, name, good, "none-such")
        assert (answer.status, "does not have" in answer.error) == (400, True)
        # As an array it is still taken: who does not know of codecs can ask, too.
        assert client.infer(name, {"x": X}).outputs["y"].shape == X.shape
        message = encode_request({}, encoded={"x": ("bytewise", good)})
        text = bytes(message.chunks[0])
        data = b"".join(map(bytes, message.chunks[1:]))
        for change, problem in [
            (lambda head: head["parameters"].update({"codec.x": 3}), "legal is the name of a codec"),
            (lambda head: head["parameters"].update({"codec.z": "bytewise"}), "not in the request"),
            (lambda head: head["inputs"][0].update(datatype="UINT8"), "legal is BYTES of shape [1]"),
            (lambda head: head["inputs"][0].update(shape=[2]), "legal is BYTES of shape [1]"),
            (lambda head: head["inputs"][0]["parameters"].update(binary_data_size=len(data) - 1), "of 4 bytes"),
        ]:
            head = json.loads(text)
            change(head)
            body = json.dumps(head).encode()
            length = {"Inference_Header_Content_Length": str(len(body))}
            body += data[: head["inputs"][0]["parameters"]["binary_data_size"]]
            answer = client.ask("POST", f"/v2/models/{name}/infer", body, **length)
            assert answer.status == 400
            assert problem in answer.error
        tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}
        body = json.dumps({"inputs": [tensor], "parameters": {"codec.x": "bytewise"}}).encode()
        answer = client.ask("POST", f"/v2/models/{name}/infer", body)
        assert (answer.status, "in JSON" in answer.error) == (400, True)


def test_decoding_that_takes_longer_than_the_time_out_is_learned(saved, monkeypatch):
    """A time-out is not charged to the link, and the time allowed grows until the server's answers come in time."""
    plan = load_plan(saved)

    def slowly(content):
        time.sleep(0.4)
        return BYTEWISE.decode(content)

    charged = []
    monkeypatch.setattr(LinkEstimator, "gave_up", lambda self, *figures: charged.append(figures))
    options = RemoteOptions(shortest_timeout_s=0.02)
    with (
        Server([saved], threads=1, codecs=[Failing(decode=slowly)]) as own,
        plan.session(server=own.url, codecs={"x": BYTEWISE}, threads=1, options=options) as session,
    ):
        for _ in range(100):
            session.run({"x": X})
            if session.last.visits and session.last.fault is None:
                break
            time.sleep(0.1)
        assert not charged
        assert "in time" in session.records[0].fault
        assert session.last.stages[1].taken_s >= 0.4
        assert min(session._server._decode_s.values()) >= 0.35


def test_a_stream_encodes_one_input_after_the_other(saved, server):
    threads = set()

    def noted(array):
        threads.add(threading.get_ident())
        return BYTEWISE.encode(array)

    with load_plan(saved).session(server=server.url, codecs={"x": Failing(encode=noted)}, threads=1) as one:
        assert len(list(one.stream([{"x": X}] * 12))) == 12
        assert all(record.stages[1].encode_s > 0 for record in one.records)
    assert len(threads) == 1


def test_what_a_codec_says_is_not_blamed_on_the_runtime(saved):
    plan = load_plan(saved)
    parts = LocalParts(plan, [0], threads=1, codecs=InputCodecs(plan, {"x": BYTEWISE}))
    parts._steps[0] = SimpleNamespace(name="part-0.onnx", inputs=("x",), outputs=("y",), run=holds_nan)
    with pytest.raises(InputError, match=r"^tensor 't' holds NaN$"):
        parts.run([0], {"x": X})


def holds_nan(_):
    raise InputError("tensor 't' holds NaN")


def test_two_codecs_of_one_name_are_refused(saved):
    with pytest.raises(InputError, match="two codecs have the name"):
        Server([saved], codecs=[BYTEWISE, Bytewise()])


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("os", "give such as"),
        ("os:system('true')", "give such as"),
        ("__import__('os'):x", "give such as"),
        ("no_such_package.codecs:jpeg", "cannot be imported: ModuleNotFoundError"),
        ("tests.partition.remote.codecs:NONE", "cannot be imported: AttributeError"),
        ("tests.partition.remote.codecs:NOT_A_CODEC", "give an object with a name"),
    ],
)
def test_names_of_codecs_that_cannot_be(reference, problem):
    with pytest.raises(InputError, match=problem):
        load_codec(reference)


def test_codecs_by_name():
    assert load_codec("tests.partition.remote.codecs:BYTEWISE") is BYTEWISE


def test_the_commands(saved, server, command, tmp_path):
    np.savez(tmp_path / "x.npz", x=X)
    codec = "x=tests.partition.remote.codecs:BYTEWISE"
    for more in ((), ("--server", server.url)):
        target = tmp_path / f"{len(more)}.npz"
        done = command("run", saved, "--codec", codec, "-i", tmp_path / "x.npz", "--output", target, *more)
        assert done.code == 0, done.err
        np.testing.assert_array_equal(np.load(target)["y"], whole(saved, SEEN)["y"])
    for arguments, problem in [
        (("run", saved), "--codec"),
        (("run", saved, "--codec", "tests.partition.remote.codecs:BYTEWISE"), "INPUT=MODULE:OBJECT"),
        (("run", saved, "--codec", codec, "--verify"), "leave out --codec"),
        (("serve", saved, "--port", "0"), "no decoder"),
        (("serve", saved, "--port", "0", "--codec", "nowhere:x"), "cannot be imported"),
    ]:
        done = command(*arguments)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert problem in done.err
