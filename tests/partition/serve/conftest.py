"""What the tests of the server share: saved folders, and a plain client that can also send what no client would."""

import json
import socket
from dataclasses import dataclass

import numpy as np
import pytest

from graph_io import load_graph
from partition import partition
from partition.model_parts import split_model
from partition.serve import Limits, Server
from partition.v2.codec import decode_response, encode_request
from tests.models import model, node, relu_chain, value


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Return a folder of saved plans and models in parts, by name."""
    home = tmp_path_factory.mktemp("served")
    partition(relu_chain(4), "wifi", granularity="node", cut=["t0"]).save(home / "chain")
    partition(relu_chain(), "wifi", granularity="node", cut=["t0"], output_on="server").save(home / "other")
    split_model(load_graph(relu_chain(4), granularity="node"), ["t0", "t1"]).save(home / "parts")
    return home


def save_whole(whole, folder, cut):
    """Save a model cut once, tail on the server."""
    partition(whole, "wifi", granularity="node", cut=cut).save(folder)
    return folder


@pytest.fixture(scope="session")
def matmul(tmp_path_factory):
    """Return a folder whose server's stage takes a while: products of a matrix."""
    size = 256
    weight = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32) / 16
    nodes = [
        node("Tanh", "x", "t0"),
        *(node("MatMul", f"t{i} w", f"t{i + 1}") for i in range(20)),
        node("Tanh", "t20", "y"),
    ]
    whole = model(nodes, {"x": ("n", size)}, [value("y", ["n", size])], {"w": weight})
    folder = tmp_path_factory.mktemp("slow") / "matmul"
    partition(whole, "wifi", granularity="node", cut=["t0"], dims={"n": 4}).save(folder)
    return folder


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def outputs(self):
        assert self.status == 200, self.body
        return decode_response(self.body, self.headers.get("inference-header-content-length")).outputs


class Client:
    """One connection; sends bytes as they are given."""

    def __init__(self, server, *, timeout_s=20, context=None):
        host, port = server.url.partition("://")[2].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, content):
        self.socket.sendall(content)

    def ask(self, method, path, body=None, **headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return self.answer()

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def infer(self, name, inputs, *, outputs=None, binary=True, **headers):
        message = encode_request(inputs, outputs=outputs, binary=binary)
        known = {key: text for key, text in message.headers.items() if key != "Content-Length"}
        return self.ask("POST", f"/v2/models/{name}/infer", b"".join(map(bytes, message.chunks)), **known, **headers)

    def more(self):
        content = self.socket.recv(1 << 16)
        self.pending += content
        return bool(content)

    def answer(self):
        while b"\r\n\r\n" not in self.pending:
            if not self.more():
                return None
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(self.pending) < size:
            assert self.more()
        body, self.pending = self.pending[:size], self.pending[size:]
        return Answer(int(first.split()[1]), headers, body)

    def is_closed(self):
        """Say whether the server has ended the connection, waiting for it."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def serving(request):
    """Start servers that end with the test."""

    def start(*folders, **more):
        more.setdefault("threads", 1)
        if "limits" not in more:
            more["limits"] = Limits(concurrency=1, drain_timeout_s=20)
        server = Server(folders, **more)
        server.start()
        request.addfinalizer(server.stop)
        return server

    return start
