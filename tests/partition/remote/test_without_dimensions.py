"""A server such as Triton, which knows no tensors without dimensions: they travel with one of size 1."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnx
import pytest

from graph_io import load_graph
from partition import load_plan, partition
from partition.remote.options import RemoteOptions
from partition.v2.codec import JSON_LENGTH_HEADER, decode_request, encode_response
from tests.models import model, node, value


class LikeTriton(BaseHTTPRequestHandler):
    """Doubles a number that comes with one dimension, and gives it back with as many."""

    protocol_version = "HTTP/1.1"
    seen = ()

    def do_GET(self):
        tensors = {
            side: [{"name": name, "datatype": "FP32", "shape": [1]}]
            for side, name in (("inputs", "t"), ("outputs", "y"))
        }
        self.reply({}, [json.dumps({"name": "stage", "versions": ["1"], "platform": "python", **tensors}).encode()])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = decode_request(body, self.headers.get(JSON_LENGTH_HEADER))
        type(self).seen = request.inputs["t"].shape
        message = encode_response("stage", {"y": 2 * request.inputs["t"]}, binary={"y": True})
        self.reply(dict(message.headers), message.chunks)

    def reply(self, headers, chunks):
        self.send_response(200)
        for name, text in (headers | {"Content-Length": str(sum(map(len, chunks)))}).items():
            self.send_header(name, text)
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), LikeTriton) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_number_travels_with_one_dimension_where_the_server_says_so(url, tmp_path):
    whole = model([node("Identity", "x", "t"), node("Add", "t t", "y")], [value("x", [])], [value("y", [])])
    assert onnx.checker.check_model(whole) is None
    plan = partition(load_graph(whole, granularity="node"), "wifi", cut=["t"]).save(tmp_path / "plan")
    options = RemoteOptions(hold="own", adapt=False, shortest_timeout_s=10)
    with load_plan(tmp_path / "plan").session(server=url, threads=1, options=options) as session:
        outputs = session.run({"x": np.array(2.5, np.float32)})
    assert plan.model.output_names == tuple(outputs)
    assert outputs["y"].shape == ()
    assert outputs["y"] == 5
    assert LikeTriton.seen == (1,)
