"""Sessions with a real server on loopback: equal outputs, placements that follow the network, and no request lost."""

import threading
import time

import numpy as np
import pytest

import graph_io
from partition import InputError, Link, load_plan, partition
from partition.emulation.link import EmulatedLink
from partition.emulation.proxy import Proxy
from partition.remote.errors import Refused, RemoteError, Unreachable
from partition.remote.options import RemoteOptions
from partition.remote.records import records_to_json
from partition.remote.remote_server import RemoteServer
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint
from partition.runtime.files import default_inputs
from partition.serve import Limits, Server
from partition.v2.names import stage_interface
from tests.models import model, node, relu_chain
from tests.partition.remote.scripted import ScriptedServer, answer
from tests.scale import scaled

RANGE = {"bandwidth": "0.5Mbps..1Gbps", "rtt": "0ms..100ms", "server_slowdown": "0.01..1000"}
ADAPTIVE, FIXED, PARTS = "adaptive", "fixed", "parts"


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Return a folder with a plan that adapts, one that does not, and another save of the latter."""
    home = tmp_path_factory.mktemp("remote")
    graph = graph_io.load_graph(graph_io.light_model("squeezenet"))
    partition(graph, "50Mbps", rtt="5ms", adapt=RANGE).save(home / ADAPTIVE)
    partition(graph, "50Mbps", rtt="5ms", cut=["r27"] if "r27" in graph.graph["tensors"] else None).save(home / FIXED)
    partition(relu_chain(), "wifi", granularity="node", cut=["t0"]).save(home / PARTS)
    return home


@pytest.fixture(scope="session")
def server(saved):
    with Server([saved / ADAPTIVE, saved / FIXED], threads=1, limits=Limits(concurrency=1)) as running:
        yield running


def expected(plan, inputs):
    with plan.session(threads=1) as session:
        return session.run(inputs)


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("kind", [ADAPTIVE, FIXED])
@pytest.mark.parametrize("hold", ["all", "own"])
def test_outputs_are_those_of_a_run_here(saved, server, kind, hold):
    plan = load_plan(saved / kind)
    inputs = default_inputs(plan)
    wanted = expected(plan, inputs)
    with plan.session(server=server.url, threads=1, options=RemoteOptions(hold=hold)) as session:
        for _ in range(4):
            assert_same(session.run(inputs), wanted)
        assert session.is_remote
        assert session.last.number == 3
        assert session.last.fault is None


def test_every_placement_computes_the_same(saved, server):
    plan = load_plan(saved / ADAPTIVE)
    inputs = default_inputs(plan)
    wanted = expected(plan, inputs)
    assert len(plan.choices) > 3
    with plan.session(server=server.url, threads=1) as session:
        for number in range(len(plan.choices)):
            session._planner.choose = lambda now, allowed=None, number=number: number
            assert_same(session.run(inputs), wanted)
            record = session.last
            assert record.choice == number
            assert record.cut == plan.choices[number].cut
            assert [stage.parts for stage in record.stages] == [one.parts for one in plan.choices[number].stages]
            assert "all" in str(record)
        assert len(records_to_json(session.records)) == len(plan.choices)


def test_a_slow_link_keeps_everything_here_and_a_fast_one_does_not(saved, server):
    plan = load_plan(saved / ADAPTIVE)
    inputs = default_inputs(plan)
    port = int(server.url.rsplit(":", 1)[1])
    used = {}
    for rate in ("1Mbps", "900Mbps"):
        with Proxy("127.0.0.1", port, EmulatedLink.of(Link.parse(rate, rtt="2ms"))) as proxy:
            endpoint = Endpoint.parse(f"http://127.0.0.1:{proxy.port}")
            # The device is slow on purpose: else everything here would always be the best.
            with RemoteSession(plan, endpoint, threads=1, on_device=slowly) as session:
                for _ in range(scaled(12, 30)):
                    session.run(inputs)
                used[rate] = sum(visit.sent_bytes for visit in session.last.visits)
                assert session.conditions.rtt_s < 0.05
    assert used["1Mbps"] < used["900Mbps"]


def slowly(work):
    begun_s = time.perf_counter()
    work()
    time.sleep(20 * (time.perf_counter() - begun_s))


def test_a_stream_gives_all_outputs_in_order(saved, server):
    plan = load_plan(saved / FIXED)
    generator = np.random.default_rng(0)
    [name] = plan.model.input_names
    inputs = [{name: generator.random(plan.model.inputs[0].shape, dtype=np.float32)} for _ in range(12)]
    wanted = [expected(plan, one) for one in inputs]
    with plan.session(server=server.url, threads=1) as session:
        for found, own in zip(session.stream(iter(inputs)), wanted, strict=True):
            assert_same(found, own)
        for found, own in zip(session.stream(inputs, rate_per_s=1.0), wanted, strict=True):
            assert_same(found, own)
        assert_same(session.run_async(inputs[0]).result(), wanted[0])
        with pytest.raises(InputError, match="missing"):
            list(session.stream([inputs[0], {}]))
        with pytest.raises(InputError, match="rate_per_s"):
            next(session.stream(inputs, rate_per_s=0))
        half = session.stream(inputs)
        next(half)
        half.close()
        assert_same(session.run(inputs[1]), wanted[1])


def test_another_save_is_refused_when_the_session_is_opened(saved, server):
    with pytest.raises(Refused, match="serves another save of this plan"):
        load_plan(saved / PARTS).session(server=server.url)


def test_a_plan_that_was_not_saved_has_no_server(server):
    with pytest.raises(InputError, match="not saved"):
        partition(relu_chain(), "wifi", granularity="node", cut=["t0"]).session(server=server.url)


def test_options_without_a_server(saved):
    with pytest.raises(InputError, match="belong to a server"):
        load_plan(saved / FIXED).session(token="secret")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hold": "some"}, "hold is"),
        ({"timeout_factor": 0.5}, "timeout_factor"),
        ({"shortest_timeout_s": 0}, "shortest_timeout_s"),
        ({"hysteresis": -1}, "hysteresis"),
        ({"in_flight": 0}, "in_flight"),
        ({"stale_s": 0}, "stale_s"),
    ],
)
def test_options_that_cannot_be(options, problem):
    with pytest.raises(InputError, match=problem):
        RemoteOptions(**options)


def test_a_wrong_token_is_refused_and_the_right_one_is_not(saved):
    plan = load_plan(saved / FIXED)
    with Server([saved / FIXED], threads=1, token="right") as server:
        with pytest.raises(Refused, match="token"):
            plan.session(server=server.url, token="wrong")
        with plan.session(server=server.url, token="right", threads=1) as session:
            session.run(default_inputs(plan))
            assert session.last.fault is None


# --- faults -------------------------------------------------------------------------------------------------------


def test_without_a_server_the_device_does_all_and_comes_back_when_there_is_one(saved):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    wanted = expected(plan, inputs)
    first = Server([saved / FIXED], threads=1)
    first.start()
    port = int(first.url.rsplit(":", 1)[1])
    with plan.session(server=first.url, threads=1) as session:
        assert_same(session.run(inputs), wanted)
        first.stop()
        for _ in range(3):
            assert_same(session.run(inputs), wanted)
        assert not session.is_remote
        assert any(record.fault for record in session.records)
        with Server([saved / FIXED], threads=1, port=port):
            wait_for(lambda: session.is_remote)
            assert_same(session.run(inputs), wanted)
            assert session.last.visits[0].fault is None


def wait_for(condition, seconds=20.0):
    end_s = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.02)


def test_a_session_may_be_opened_before_its_server(saved):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    with plan.session(server="http://127.0.0.1:9", threads=1) as session:
        assert_same(session.run(inputs), expected(plan, inputs))
        assert not session.is_remote
    with pytest.raises(Unreachable):
        plan.session(server="http://127.0.0.1:9", options=RemoteOptions(hold="own"))


BAD = {
    "no answer in time": [30.0],
    "hangs up": ["close"],
    "is no HTTP": [b"what?\r\n\r\n", "close"],
    "fails inside": answer(b'{"error": "broken"}', status=b"500 Oops"),
    "is busy": answer(b'{"error": "later"}', status=b"503 Busy", headers=b"Retry-After: 1\r\n"),
    "does not know the model": answer(b'{"error": "which?"}', status=b"404 No"),
    "hangs up in the body": [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "close"],
    "sends no JSON": answer(b"\xff\xfe"),
    "sends a list": answer(b"[]"),
    "leaves out the output": answer(b'{"model_name": "x", "outputs": []}'),
    "sends another type": None,
    "sends another rank": None,
}


def bad_script(kind, plan):
    if BAD[kind] is not None:
        return BAD[kind]
    name = plan.model.outputs[0].name
    datatype, shape = ("INT32", "[1,1]") if kind == "sends another type" else ("FP32", "[1]")
    text = '{"model_name":"x","outputs":[{"name":"%s","shape":%s,"datatype":"%s","data":[1]}]}'
    return answer((text % (name, shape, datatype)).encode())


@pytest.mark.parametrize("kind", list(BAD))
def test_whatever_the_server_answers_the_outputs_are_right(saved, kind):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    wanted = expected(plan, inputs)
    options = RemoteOptions(shortest_timeout_s=0.2, timeout_factor=1.0)
    with ScriptedServer(bad_script(kind, plan)) as server:
        session = open_unchecked(plan, server.url, options)
        with session:
            for _ in range(3):
                assert_same(session.run(inputs), wanted)
            assert session.records[0].fault
            assert session.records[0].stages[1].ran_on == "device"
            assert not session.is_remote
        own = open_unchecked(plan, server.url, RemoteOptions(shortest_timeout_s=0.2, timeout_factor=1.0, hold="own"))
        with own, pytest.raises(RemoteError):
            own.run(inputs)


@pytest.mark.parametrize("name", ['["a"]', "{}", "3", "null"])
def test_metadata_whose_names_are_no_text_is_refused(saved, name):
    text = '{"name":"x","inputs":[{"name":NAME,"datatype":"FP32","shape":[1]}],"outputs":[{"name":NAME}]}'
    text = text.replace("NAME", name)
    with ScriptedServer(answer(text.encode())) as server, pytest.raises(Refused, match="expected"):
        load_plan(saved / FIXED).session(server=server.url, threads=1)


def open_unchecked(plan, url, options):
    """Open a session with a server that will not shake hands."""
    shake, RemoteServer.shake_hands = RemoteServer.shake_hands, lambda self: None
    try:
        return RemoteSession(plan, Endpoint.parse(url), options=options, threads=1)
    finally:
        RemoteServer.shake_hands = shake


@pytest.mark.parametrize("fault", ["freeze", "drop", "cut"])
def test_faults_of_the_network_lose_no_request(saved, server, fault):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    wanted = expected(plan, inputs)
    port = int(server.url.rsplit(":", 1)[1])
    options = RemoteOptions(shortest_timeout_s=0.3)
    with Proxy("127.0.0.1", port, EmulatedLink.of(Link.parse("200Mbps", rtt="1ms"))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        with plan.session(server=url, threads=1, options=options) as session:
            assert_same(session.run(inputs), wanted)
            {"freeze": proxy.freeze, "drop": proxy.drop, "cut": lambda: proxy.cut_after(500)}[fault]()
            for _ in range(4):
                assert_same(session.run(inputs), wanted)
            # A connection that is cut is replaced, and the request sent again.
            assert fault == "cut" or any(record.fault for record in session.records)
            proxy.resume()
            wait_for(lambda: session.is_remote)
            assert_same(session.run(inputs), wanted)
            wait_for(lambda: session.run(inputs) and session.last.visits and session.last.fault is None)


def test_sessions_may_be_used_from_several_threads(saved, server):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    wanted = expected(plan, inputs)
    failures = []

    def work(session):
        for _ in range(3):
            found = session.run(inputs)
            if any(not np.array_equal(found[name], wanted[name]) for name in wanted):
                failures.append(found)

    with plan.session(server=server.url, threads=1, options=RemoteOptions(shortest_timeout_s=10)) as session:
        threads = [threading.Thread(target=work, args=(session,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(session.records) == 12
        assert sorted(record.number for record in session.records) == list(range(12))


# --- what sessions refuse, and how they end -----------------------------------------------------------------------


def test_outputs_are_handed_out_on_the_device_alone(tmp_path, server):
    partition(relu_chain(), "wifi", granularity="node", cut=["t0"], output_on="server").save(tmp_path / "out")
    with pytest.raises(InputError, match="output_on='device'"):
        load_plan(tmp_path / "out").session(server=server.url)


def test_weights_in_files_of_their_own_need_hashes(tmp_path, server):
    import onnx

    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    nodes = [node("Tanh", "x", "t"), node("MatMul", "t w", "y")]
    whole = model(nodes, {"x": (1, 64)}, ["y"], {"w": weight})
    (tmp_path / "in").mkdir()
    onnx.save(whole, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    plan = partition(tmp_path / "in" / "m.onnx", "wifi", granularity="node", cut=["t"])
    plan.save(tmp_path / "plain")
    with pytest.raises(InputError, match="--hash-weights"):
        load_plan(tmp_path / "plain").session(server=server.url)
    plan.save(tmp_path / "hashed", hash_weights=True)
    saved = load_plan(tmp_path / "hashed")
    inputs = default_inputs(saved)
    with Server([tmp_path / "hashed"], threads=1) as own, saved.session(server=own.url, threads=1) as session:
        assert_same(session.run(inputs), expected(saved, inputs))
        assert session.last.fault is None


def test_other_weights_have_another_name(tmp_path):
    import onnx

    names = []
    for seed in range(2):
        weight = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
        whole = model([node("Tanh", "x", "t"), node("MatMul", "t w", "y")], {"x": (1, 64)}, ["y"], {"w": weight})
        home = tmp_path / str(seed)
        home.mkdir()
        onnx.save(whole, home / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
        plan = partition(home / "m.onnx", "wifi", granularity="node", cut=["t"])
        names.append(stage_interface(plan.save(home / "out", hash_weights=True), plan.stages[1].parts).name)
    assert names[0] != names[1]


def test_a_closed_session_says_so(saved, server):
    plan = load_plan(saved / FIXED)
    session = plan.session(server=server.url, threads=1)
    session.close()
    for use in (session.run, session.run_async, lambda inputs: next(session.stream([inputs]))):
        with pytest.raises(InputError, match="closed"):
            use(default_inputs(plan))


def test_records_can_be_read_while_requests_run(saved, server):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    with plan.session(server=server.url, threads=1) as session:
        running = [session.run_async(inputs) for _ in range(8)]
        while not all(one.done() for one in running):
            records_to_json(session.records)
        assert len(session.records) == 8


def test_a_server_that_hangs_costs_a_bounded_time_again_and_again(saved):
    plan = load_plan(saved / FIXED)
    inputs = default_inputs(plan)
    options = RemoteOptions(shortest_timeout_s=0.1, longest_timeout_s=0.2)
    with ScriptedServer([30.0]) as server, open_unchecked(plan, server.url, options) as session:
        for _ in range(4):
            session._server.breaker.open_since_s = None
            session.run(inputs)
        assert all(visit.taken_s < 1.0 for record in session.records for visit in record.visits)


def test_what_the_command_refuses(saved, command, server):
    done = command("run", saved / FIXED, "--server", server.url, "--verify")
    assert (done.code, done.err.count("\n")) == (2, 1)
    done = command("run", saved / FIXED, "--hold", "own")
    assert (done.code, done.err.count("\n")) == (2, 1)
    done = command("run", saved / FIXED, "--server", "http://a..b:8000")
    assert (done.code, done.err.count("\n")) == (2, 1)
    done = command("run", saved / FIXED, "--server", server.url, "--runs", "3")
    assert done.code == 0, done.err
    assert "link, there and back" in done.out
