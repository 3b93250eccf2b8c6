"""The server of saved parts: what the protocol promises, with real sessions behind it."""

import json
import socket
import threading
import time

import numpy as np
import pytest

from graph_io import load_graph
from partition import load_plan, partition
from partition.errors import InputError
from partition.model_parts import load_parts, split_model
from partition.serve import Limits, Server
from partition.serve.buffers import BufferPool, aligned
from partition.serve.registry import open_models
from partition.v2.datatypes import NUMPY_TYPES
from partition.v2.names import stage_interface
from tests.models import model, node, relu_chain, value
from tests.partition.serve.conftest import Client, save_whole
from tests.partition.test_imports import loaded_by
from tests.partition.v2.test_codec import array_of, same


def only(server):
    (name,) = server.models
    return name


X = np.array([[0.5, -1, 2, 0]], np.float32)


def test_a_head_here_and_a_tail_there_are_the_whole(serving, folders):
    server = serving(folders / "chain")
    plan = load_plan(folders / "chain")
    assert only(server) == stage_interface(plan, [1]).name
    with Client(server) as client, plan.session(threads=1) as session:
        for step in range(3):
            expected = session.run({"x": X + step})["y"]
            answer = client.infer(only(server), {"t0": np.tanh(X + step)})
            np.testing.assert_allclose(answer.outputs["y"], expected, rtol=1e-6)
            content = json.loads(answer.body[: int(answer.headers["inference-header-content-length"])])
            assert content["model_name"] == only(server)
            assert content["model_version"] == "1"
            assert set(content["parameters"]) == {"queue_s", "compute_s", "receive_s"}
            assert all(isinstance(number, float) and number >= 0 for number in content["parameters"].values())


def test_json_in_and_out(serving, folders):
    server = serving(folders / "chain")
    with Client(server) as client:
        binary = client.infer(only(server), {"t0": X}).outputs["y"]
        answer = client.infer(only(server), {"t0": X}, binary=False)
        assert answer.headers["content-type"] == "application/json"
        np.testing.assert_array_equal(answer.outputs["y"], binary)
        mixed = json.dumps(
            {
                "id": "seven",
                "inputs": [{"name": "t0", "shape": [1, 4], "datatype": "FP32", "data": X.tolist()}],
                "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
            }
        ).encode()
        answer = client.ask("POST", f"/v2/models/{only(server)}/versions/1/infer", mixed)
        np.testing.assert_array_equal(answer.outputs["y"], binary)
        assert b'"id":"seven"' in answer.body


def test_health_metadata_and_index(serving, folders):
    server = serving(folders / "chain")
    name = only(server)
    with Client(server) as client:
        assert client.get("/v2/health/live").status == 200
        assert client.get("/v2/health/ready").status == 200
        about = client.get("/v2").json
        assert about["name"] == "dnn-partition"
        assert "binary_tensor_data" in about["extensions"]
        assert client.get("/v2/").json == about
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/1"):
            assert client.get(path).json == {
                "name": name,
                "versions": ["1"],
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": "t0", "datatype": "FP32", "shape": [1, 4]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4]}],
            }
            assert client.get(f"{path}/ready").status == 200
        assert client.ask("POST", "/v2/repository/index", b"{}").json == [
            {"name": name, "version": "1", "state": "READY"}
        ]


def test_statistics_and_metrics(serving, folders):
    server = serving(folders / "chain")
    name = only(server)
    with Client(server) as client:
        for _ in range(3):
            assert client.infer(name, {"t0": X}).status == 200
        assert client.infer(name, {"wrong": X}).status == 400
        for path in (f"/v2/models/{name}/stats", f"/v2/models/{name}/versions/1/stats", "/v2/models/stats"):
            (stats,) = client.get(path).json["model_stats"]
            assert (stats["name"], stats["version"], stats["inference_count"]) == (name, "1", 3)
            assert stats["inference_stats"]["success"]["count"] == 3
            assert stats["inference_stats"]["fail"]["count"] == 1
            for step in ("queue", "compute_input", "compute_infer", "compute_output"):
                assert stats["inference_stats"][step]["count"] == 3
                assert 0 <= stats["inference_stats"][step]["ns"] <= stats["inference_stats"]["success"]["ns"]
        client.get("/nothing")
        answer = client.get("/metrics")
    parser = pytest.importorskip("prometheus_client.parser")
    families = {one.name: one for one in parser.text_string_to_metric_families(answer.body.decode())}
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for one in families.values()
        for sample in one.samples
    }
    model_label = ("model", name)
    assert samples["dnn_partition_inferences_total", model_label, ("outcome", "success")] == 3
    assert samples["dnn_partition_inferences_total", model_label, ("outcome", "fail")] == 1
    assert samples["dnn_partition_request_seconds_count", model_label] == 3
    assert samples["dnn_partition_request_seconds_bucket", ("le", "+Inf"), model_label] == 3
    assert samples["dnn_partition_answers_total", ("code", "404")] == 1
    assert samples["dnn_partition_ready",] == 1
    assert samples["dnn_partition_connections",] == 1
    assert families["dnn_partition_compute_seconds"].type == "histogram"


def test_several_folders_and_all_parts(serving, folders):
    server = serving(folders / "chain", folders / "other", folders / "parts", folders / "chain", all_parts=True)
    plan, parts = load_plan(folders / "chain"), load_parts(folders / "parts")
    names = [stage_interface(plan, numbers).name for numbers in [(1,), (0,), (0, 1)]]
    assert list(server.models)[:3] == names
    # Two of a plan of two parts, six of three parts in a row; the first part is the same file in all folders.
    assert len(server.models) == 3 + 2 + 5
    values = {"x": X}
    with Client(server) as client:
        for number in range(3):
            stage = stage_interface(parts, [number])
            values |= client.infer(stage.name, {one.name: values[one.name] for one in stage.inputs}).outputs
        together = client.infer(stage_interface(parts, [0, 1, 2]).name, {"x": X}).outputs["y"]
        whole = client.infer(stage_interface(plan, [0, 1]).name, {"x": X}).outputs["y"]
    np.testing.assert_array_equal(values["y"], together)
    np.testing.assert_allclose(whole, together, rtol=1e-6)
    # Each part is open once, however many models it is in.
    sessions = {id(step.session) for served in server.models.values() for step in served._steps}
    assert len(sessions) == 2 + 2 + 3


def test_what_cannot_be_served_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match="no folder was given"):
        Server([])
    with pytest.raises(InputError, match="plan file"):
        Server([tmp_path])
    partition(relu_chain(), "1kbps", granularity="node").save(tmp_path / "local")
    with pytest.raises(
        InputError, match=r"^the best plan for these costs, .* keeps everything on the device.* --cut TENSOR"
    ):
        Server([tmp_path / "local"])
    assert len(open_models([tmp_path / "local"], all_parts=True, threads=1)) == 1
    partition(relu_chain(), "wifi", granularity="node", cut=[]).save(tmp_path / "own")
    with pytest.raises(InputError, match=r"^the plan in '.*own' keeps everything on the device"):
        Server([tmp_path / "own"])
    half = model(
        [node("Cast", "x", "a", to=16), node("Cast", "a", "b", to=1), node("Tanh", "b", "y")],
        {"x": (2, 3)},
        [value("y", [2, 3])],
    )
    with pytest.raises(InputError, match="'a' is of type bfloat16, which does not travel"):
        Server([save_whole(half, tmp_path / "half", ["a"])])
    for more, message in [
        ({"token": ""}, "token"),
        ({"token": "a b"}, "token"),
        ({"port": 70_000}, "port is 70000"),
        ({"key": "x"}, "without a certificate"),
        ({"certificate": tmp_path / "none.pem"}, "cannot be used"),
        ({"threads": 0}, "threads"),
        ({"host": "256.1.1.1"}, "cannot listen"),
    ]:
        with pytest.raises(InputError, match=message):
            Server([folders / "chain"], **more)
    with Server([folders / "chain"], threads=1) as server, pytest.raises(InputError, match="cannot listen on"):
        Server([folders / "chain"], threads=1, port=int(server.url.rsplit(":", 1)[1]))
    for more in [{"queue": -1}, {"body_bytes": 0}, {"concurrency": 0}, {"idle_timeout_s": "1"}, {"queue": True}]:
        with pytest.raises(InputError, match=f"limit {next(iter(more))} is"):
            Limits(**more)
    with pytest.raises(InputError, match="less than one body"):
        Limits(body_bytes=2**20, waiting_bytes=2**10)


def test_bfloat16_between_two_parts_of_a_stage_stays_inside(serving, tmp_path):
    half = model(
        [node("Tanh", "x", "t"), node("Cast", "t", "a", to=16), node("Cast", "a", "b", to=1), node("Neg", "b", "y")],
        {"x": (2, 3)},
        [value("y", [2, 3])],
    )
    made = split_model(load_graph(half, granularity="node"), [["t"], ["a"]]).save(tmp_path / "out")
    tail = stage_interface(made, [1, 2])
    with pytest.raises(InputError, match="bfloat16, which does not travel"):
        open_models([tmp_path / "out"], threads=1)
    whole = partition(half, "wifi", granularity="node", cut=["t"]).save(tmp_path / "plan")
    assert [one.dtype for one in tail.outputs] == ["float32"]
    server = serving(tmp_path / "plan")
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    with Client(server) as client, whole.session(threads=1) as session:
        expected = session.run({"x": x})["y"]
        np.testing.assert_allclose(client.infer(only(server), {"t": np.tanh(x)}).outputs["y"], expected, atol=1e-2)


ELEMENT = {"BOOL": 9, "FP16": 10, "FP32": 1, "FP64": 11, "BYTES": 8} | {
    "INT8": 3, "INT16": 5, "INT32": 6, "INT64": 7, "UINT8": 2, "UINT16": 4, "UINT32": 12, "UINT64": 13,
}  # fmt: skip


@pytest.mark.parametrize("datatype", NUMPY_TYPES)
def test_every_type_goes_through_a_model(serving, tmp_path, datatype):
    """An identity: what comes out may be the memory that came in, and it is still there when it is sent."""
    whole = model(
        [node("Identity", "x", "a"), node("Identity", "a", "y")],
        [value("x", ["n", 3], ELEMENT[datatype])],
        [value("y", ["n", 3], ELEMENT[datatype])],
    )
    given = {"x": array_of(datatype, (2, 3))}
    split_model(load_graph(whole, granularity="node", inputs=given), ["a"]).save(tmp_path / "out")
    server = serving(tmp_path / "out")
    first, second = server.models
    with Client(server) as client, Client(server) as other:
        for rows in (0, 1, 5):
            x = array_of(datatype, (rows, 3), seed=rows)
            between = client.infer(first, {"x": x}).outputs
            same(other.infer(second, between).outputs["y"], x)


def test_a_scalar_goes_through_a_model(serving, tmp_path):
    whole = model([node("Tanh", "x", "a"), node("Neg", "a", "y")], {"x": ()}, [value("y", [])])
    server = serving(save_whole(whole, tmp_path / "out", ["a"]))
    with Client(server) as client:
        out = client.infer(only(server), {"a": np.array(2, np.float32)}).outputs["y"]
    assert (out.shape, out.item()) == ((), -2.0)


def test_a_large_body_comes_back_whole(serving, tmp_path):
    whole = model([node("Tanh", "x", "a"), node("Neg", "a", "y")], {"x": ("n",)}, [value("y", ["n"])])
    plan = partition(whole, "wifi", granularity="node", cut=["a"], dims={"n": 4})
    plan.save(tmp_path / "out")
    server = serving(tmp_path / "out", limits=Limits(concurrency=1))
    with Client(server) as client:
        for count in (1, 10_000, 3_000_000, 10):
            x = np.random.default_rng(count).standard_normal(count).astype(np.float32)
            np.testing.assert_array_equal(client.infer(only(server), {"a": x}).outputs["y"], -x)


def test_what_the_runtime_refuses_is_told(serving, tmp_path):
    whole = model(
        [node("Neg", "x", "i"), node("Gather", "table i", "y")],
        [value("x", [1], 7)],
        [value("y", [1, 2])],
        {"table": np.ones((3, 2), np.float32)},
    )
    server = serving(save_whole(whole, tmp_path / "out", ["i"]))
    with Client(server) as client:
        answer = client.infer(only(server), {"i": np.array([77])})
        assert answer.status == 500
        assert "failed in onnxruntime" in answer.error
        assert client.infer(only(server), {"i": np.array([1])}).status == 200


def test_requests_behind_each_other_on_one_connection(serving, folders):
    server = serving(folders / "chain")
    with Client(server) as client:
        client.send(
            b"GET /v2/health/live HTTP/1.1\r\n\r\nGET /v2/health/ready HTTP/1.1\r\n\r\nGET /v2 HTTP/1.1\r\n\r\n"
        )
        assert [client.answer().status for _ in range(3)] == [200, 200, 200]
        client.send(b"GET /v2 HTTP/1.1\r\nConnection: Close\r\n\r\n")
        assert client.answer().headers["connection"] == "close"
        assert client.is_closed()
    with Client(server) as client:
        client.send(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert client.answer().headers["connection"] == "close"
        assert client.is_closed()


def test_a_body_that_waits_to_be_asked_for(serving, folders):
    server = serving(folders / "chain")
    body = json.dumps({"inputs": [{"name": "t0", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
    head = (
        f"POST /v2/models/{only(server)}/infer HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with Client(server) as client:
        client.send(head.encode())
        assert client.answer().status == 100
        client.send(body)
        assert client.answer().status == 200
        client.send(head.replace("/infer", "x/infer").encode())
        assert client.answer().status == 404
        assert client.is_closed()


def test_busy_means_503_and_nothing_is_lost(serving, matmul):
    server = serving(matmul, limits=Limits(concurrency=1, queue=2))
    x = np.random.default_rng(0).standard_normal((2000, 256)).astype(np.float32)
    with Client(server) as client:
        expected = client.infer(only(server), {"t0": x}).outputs["y"]
    found = []

    def ask():
        with Client(server) as client:
            for _ in range(2):
                answer = client.infer(only(server), {"t0": x})
                found.append((answer.status, answer.headers.get("retry-after")))
                if answer.status == 200:
                    np.testing.assert_array_equal(answer.outputs["y"], expected)
                else:
                    assert "queue is full" in answer.error

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert set(found) == {(200, None), (503, "1")}


def test_draining_finishes_what_runs_and_takes_nothing_new(serving, matmul):
    server = serving(matmul, limits=Limits(concurrency=1, queue=8, drain_timeout_s=20))
    x = np.ones((4000, 256), np.float32)
    answers = []

    def ask():
        with Client(server) as client:
            answers.append(client.infer(only(server), {"t0": x}))

    idle = Client(server)
    assert idle.get("/v2/health/ready").status == 200
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while server._service.admission.running + server._service.admission.waiting < 4:
        time.sleep(0.002)
    ending = threading.Thread(target=server.stop)
    ending.start()
    while not server._service.draining:
        time.sleep(0.001)
    # Those that were idle are answered until the last that runs has ended.
    late = idle.get("/v2/health/ready")
    if late is not None:
        assert (late.status, late.headers["connection"]) == (503, "close")
    ending.join()
    idle.socket.close()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 4
    with pytest.raises(OSError):
        Client(server)


def test_a_client_that_left_the_queue_is_not_computed_for(serving, matmul):
    server = serving(matmul, limits=Limits(concurrency=1, queue=8))
    x = np.ones((4000, 256), np.float32)
    server._service.admission.enter()
    with Client(server) as client:
        message = json.dumps(
            {"inputs": [{"name": "t0", "shape": [1, 256], "datatype": "FP32", "data": [1] * 256}]}
        ).encode()
        client.send(f"POST /v2/models/{only(server)}/infer HTTP/1.1\r\nContent-Length: {len(message)}\r\n\r\n".encode())
        client.send(message)
        while server._service.admission.waiting < 1:
            time.sleep(0.002)
    time.sleep(0.05)
    server._service.admission.leave()
    with Client(server) as client:
        assert client.infer(only(server), {"t0": x}).status == 200
        (stats,) = client.get("/v2/models/stats").json["model_stats"]
    assert stats["inference_count"] == 1
    assert stats["inference_stats"]["fail"]["count"] == 1


def test_serving_needs_numpy_and_the_runtime_alone(folders):
    assert loaded_by("import partition.v2.codec, partition.v2.names") == []
    code = "import sys; from partition.serve import Server\nwith Server([sys.argv[1]], threads=1): pass"
    assert loaded_by(code, folders / "chain") == ["onnxruntime"]


def test_ipv6(serving, folders):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6")
    server = serving(folders / "chain", host="::1")
    assert server.url.startswith("http://[::1]:")


def test_buffers_are_used_again_and_aligned():
    pool = BufferPool(1 << 20)
    first = pool.take(100_000)
    pool.give(first)
    assert pool.take(90_000) is first
    assert pool.take(90_000) is not first
    large = pool.take(2 << 20)
    pool.give(large)
    assert pool.take(2 << 20) is not large
    for size, json_bytes in [(0, 0), (1, 1), (65536, 77), (100_000, 300), ((1 << 17) - 64, 1)]:
        buffer = pool.take(size)
        view = aligned(buffer, size, json_bytes)
        assert len(view) == size
        if size > json_bytes:
            assert np.frombuffer(view, np.uint8).ctypes.data % 64 == -json_bytes % 64
