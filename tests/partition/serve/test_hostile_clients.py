"""Clients that lie, dawdle and guess: each gets a clear 4xx or is let go, and the server lives."""

import json
import socket
import ssl
import subprocess
import time

import numpy as np
import pytest

from partition.serve import Limits
from partition.serve.http import read_head
from partition.v2.codec import encode_request
from partition.v2.errors import ProtocolError
from tests.partition.serve.conftest import Client
from tests.partition.v2.test_codec import damaged
from tests.scale import scaled

X = np.array([[0.5, -1, 2, 0]], np.float32)


@pytest.fixture
def server(serving, folders):
    made = serving(folders / "chain", limits=Limits(concurrency=1, body_bytes=1 << 16, waiting_bytes=1 << 18))
    yield made
    # Whatever came, it still answers.
    with Client(made) as client:
        assert client.infer(next(iter(made.models)), {"t0": X}).status == 200


def name_of(server):
    return next(iter(server.models))


BAD_HEADS = [
    (b"GET / HTTP/2.0\r\n\r\n", 505),
    (b"GET http://x/v2 HTTP/1.1\r\n\r\n", 505),
    (b"\r\n\r\n", 400),
    (b"hello\r\n\r\n", 400),
    (b"get /v2 HTTP/1.1\r\n\r\n", 400),
    (b"GET  /v2 HTTP/1.1\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1 \r\n\r\n", 400),
    (b"GET /v\x002 HTTP/1.1\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\nHost: x\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nA: b\nc: d\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\n: x\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    (b"GET /v2 HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx", 400),
    (b"GET /v2 HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", 400),
    (b"GET /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\nx", 400),
    (b"GET /v2 HTTP/1.1\r\nContent-Length: 0x1\r\n\r\nx", 400),
    (b"GET /v2 HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    (b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    (b"POST /v2 HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    (b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 65 + b"\r\n", 431),
    (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
]


@pytest.mark.parametrize(("content", "status"), BAD_HEADS)
def test_a_bad_head_ends_the_connection(server, content, status):
    with Client(server) as client:
        client.send(content)
        answer = client.answer()
        assert answer.status == status, answer
        assert answer.error
        assert answer.headers["connection"] == "close"
        client.socket.shutdown(socket.SHUT_WR)
        assert client.is_closed()


def test_damaged_heads_are_read_or_refused():
    generator = np.random.default_rng(3)
    whole = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nInference-Header-Content-Length: 4"
    statuses = set()
    for _ in range(scaled(3000, 100_000)):
        try:
            head = read_head(damaged(whole, generator))
        except ProtocolError as error:
            statuses.add(error.status)
        else:
            statuses.add(200)
            assert head.path.startswith("/")
            assert 0 <= head.body_bytes < 10**18
    assert statuses <= {200, 400, 411, 431, 505}
    assert {200, 400} <= statuses


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models/m", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/../../../etc/passwd", 404),
        ("GET", "/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("GET", "/v2/models//etc/passwd", 404),
        ("GET", "/v2/models/{name}/..", 404),
        ("GET", "/v2/models/{name}%00", 404),
        ("GET", "/v2/models/{name}/versions/2", 404),
        ("GET", "/v2/models/{name}/versions/1/../1", 404),
        ("GET", "/v2/models/{name}/config", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/models/{name}", 405),
        ("GET", "/v2/models/{name}/infer", 405),
        ("DELETE", "/v2/models/{name}/infer", 405),
        ("POST", "/v2/health/live", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v2/repository/index", 405),
        ("POST", "/v2/models/{name}/infer", 411),
    ],
)
def test_paths_and_methods(server, method, path, status):
    with Client(server) as client:
        answer = client.ask(method, path.format(name=name_of(server)))
        assert answer.status == status
        assert answer.error
        assert client.get("/v2").status == 200


def test_bodies_that_are_too_large_or_encoded(server):
    path = f"/v2/models/{name_of(server)}/infer"
    with Client(server) as client:
        answer = client.ask("POST", path, b"x" * ((1 << 16) + 1))
        assert answer.status == 413
        assert client.get("/v2").status == 200
        assert client.ask("POST", path, b"x", Content_Encoding="gzip").status == 415
        assert client.ask("POST", path, b"x", Expect="200-maybe").status == 417
    with Client(server) as client:
        # A terabyte is not waited for.
        client.send(f"POST {path} HTTP/1.1\r\nContent-Length: {10**12}\r\n\r\n".encode())
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 't0' is missing"),
        ({"t0": X, "more": X}, "input 'more' is unknown"),
        ({"t0": X.astype(np.float64)}, "has type float64; the model takes FP32"),
        ({"t0": X.view(np.int32)}, "has type int32"),
        ({"t0": np.array([["a"] * 4])}, "has type object"),
        ({"t0": X[:, :3]}, "has shape [1, 3]; the model takes [1, 4]"),
        ({"t0": X[0]}, "has shape [4]"),
        ({"t0": X.reshape(1, 4, 1)}, "has shape [1, 4, 1]"),
    ],
)
def test_tensors_that_are_not_the_models(server, inputs, message):
    with Client(server) as client:
        answer = client.infer(name_of(server), inputs)
        assert answer.status == 400
        assert message in answer.error


def test_outputs_that_are_not_the_models(server):
    with Client(server) as client:
        answer = client.infer(name_of(server), {"t0": X}, outputs=["y", "t1"])
        assert (answer.status, "output 't1' is unknown" in answer.error) == (400, True)


def test_wrong_tokens(serving, folders):
    server = serving(folders / "chain", token="right")
    generator = np.random.default_rng(0)
    paths = ["/v2", "/metrics", "/v2/models/stats", f"/v2/models/{name_of(server)}", "/nothing"]
    with Client(server) as client:
        for number in range(scaled(300, 5000)):
            length = int(generator.integers(0, 12))
            guess = bytes(generator.integers(0x21, 0x7F, length, dtype=np.uint8)).decode("ascii")
            header = [f"Bearer {guess}", "Bearer", f"Basic {guess}", guess, "Bearer righ", "Bearer right2"][number % 6]
            answer = client.get(paths[number % len(paths)], Authorization=header)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/v2").status == 401
        assert client.get("/v2", Authorization="bearer  right").status == 200
        assert client.get("/v2/health/ready").status == 200
        assert client.infer(name_of(server), {"t0": X}).status == 401
        assert client.infer(name_of(server), {"t0": X}, Authorization="Bearer right").status == 200
        assert client.get("/v2", Authorization="Bearer \xfc").status == 401


def test_damaged_requests_by_the_thousand(server):
    """Bytes of a good request changed, cut and doubled; the head's length stays true so that it comes to the codec."""
    generator = np.random.default_rng(11)
    message = encode_request({"t0": X}, outputs=["y"])
    body = b"".join(map(bytes, message.chunks))
    statuses = []
    client = Client(server)
    for _ in range(scaled(1500, 30_000)):
        length = message.json_bytes + int(generator.choice([0, 0, 0, -1, 1, 17, 10**6]))
        answer = client.ask(
            "POST",
            f"/v2/models/{name_of(server)}/infer",
            damaged(body, generator),
            Inference_Header_Content_Length=str(length),
        )
        assert answer.status == 200 or answer.error
        statuses.append(answer.status)
        if answer.headers.get("connection") == "close":
            client.socket.close()
            client = Client(server)
    client.socket.close()
    assert set(statuses) <= {200, 400}
    assert statuses.count(400) > len(statuses) / 2


def test_damaged_streams_by_the_hundred(server):
    """Whole requests damaged anywhere, heads too: each connection is answered, ended, or waits for what is missing."""
    generator = np.random.default_rng(12)
    message = encode_request({"t0": X})
    head = f"POST /v2/models/{name_of(server)}/infer HTTP/1.1\r\n"
    head += "".join(f"{name}: {text}\r\n" for name, text in message.headers.items())
    whole = head.encode() + b"\r\n" + b"".join(map(bytes, message.chunks))
    for _ in range(scaled(300, 5000)):
        with Client(server) as client:
            client.send(damaged(whole, generator))
            client.socket.shutdown(socket.SHUT_WR)
            try:
                answer = client.answer()
            except (ConnectionResetError, AssertionError):
                continue
            if answer is not None:
                assert answer.status == 200 or 400 <= answer.status <= 505


def test_dawdling_clients_are_let_go(serving, folders):
    limits = Limits(concurrency=1, head_timeout_s=0.3, transfer_timeout_s=0.4, idle_timeout_s=0.5)
    server = serving(folders / "chain", limits=limits)
    with Client(server) as idle, Client(server) as head, Client(server) as body, Client(server) as reader:
        body.send(f"POST /v2/models/{name_of(server)}/infer HTTP/1.1\r\nContent-Length: 1000\r\n\r\n".encode())
        ended = set()
        start = time.monotonic()
        while len(ended) < 2 and time.monotonic() - start < 10:
            # A byte at a time does not extend the time.
            for client, content in ((head, b"G"), (body, b" ")):
                if client not in ended:
                    try:
                        client.send(content)
                    except OSError:
                        ended.add(client)
            time.sleep(0.02)
        assert len(ended) == 2
        assert idle.is_closed()
        assert reader.is_closed()
    with Client(server) as head:
        head.send(b"GET /v2")
        answer = head.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
    with Client(server) as client:
        assert client.infer(name_of(server), {"t0": X}).status == 200


def test_idle_connections_give_way_to_new_ones(serving, folders):
    server = serving(folders / "chain", limits=Limits(concurrency=1, connections=4))
    clients = []
    try:
        for _ in range(12):
            clients.append(Client(server))
            assert clients[-1].get("/v2").status == 200
        assert server._service.connections <= 4
        assert clients[0].is_closed()
        assert clients[-1].get("/v2").status == 200
    finally:
        for client in clients:
            client.socket.close()


def test_bodies_in_memory_are_bounded(serving, folders):
    limits = Limits(concurrency=1, body_bytes=1 << 16, waiting_bytes=1 << 16)
    server = serving(folders / "chain", limits=limits)
    path = f"/v2/models/{name_of(server)}/infer"
    with Client(server) as slow, Client(server) as other:
        slow.send(f"POST {path} HTTP/1.1\r\nContent-Length: {1 << 16}\r\n\r\n".encode() + b" " * 100)
        deadline = time.monotonic() + 10
        # Asked only now: beside another request the slow one itself would be too much.
        while server._service.admission._bytes_left > 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert other.infer(name_of(server), {"t0": X}).status == 503
        slow.send(b" " * ((1 << 16) - 100))
        assert slow.answer().status == 400
        # Its memory is given back right after its answer.
        while server._service.admission._bytes_left == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert other.infer(name_of(server), {"t0": X}).status == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the paths of a self-signed certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    try:
        options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        options += ["-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
        subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this host has no openssl that makes certificates")
    return folder / "cert.pem", folder / "key.pem"


def test_tls(serving, folders, certificate):
    server = serving(folders / "chain", certificate=certificate[0], key=certificate[1], token="t")
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with Client(server, context=context) as client:
        for _ in range(3):
            answer = client.infer(name_of(server), {"t0": X}, Authorization="Bearer t")
            assert answer.outputs["y"].shape == (1, 4)
        assert client.get("/v2").status == 401
        assert client.ask("POST", "/v2", json.dumps({}).encode()).status == 401
    # One who speaks plainly is let go, and others are served.
    with Client(server) as plain:
        plain.send(b"GET /v2 HTTP/1.1\r\n\r\n")
        assert plain.is_closed()
    with Client(server, context=context) as client:
        assert client.get("/v2/health/live").status == 200
