"""Compressed bodies at a real server: the same answers bit for bit, and a clear refusal of all that is not right."""

import json
import sys

import numpy as np
import pytest
import zstandard

from partition import InputError
from partition.serve import Limits, Server
from partition.v2.codec import decode_response, encode_request
from tests.models import model, node
from tests.partition.serve.conftest import Client, save_whole
from tests.partition.v2.test_codec import damaged
from tests.scale import scaled

SHAPE = (1, 16, 32, 32)
LIMIT = 1 << 17
X = np.maximum(np.random.default_rng(0).standard_normal(SHAPE), 0).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    whole = model([node("Relu", "x", "t0"), node("Abs", "t0", "t1"), node("Relu", "t1", "y")], {"x": SHAPE}, ["y"])
    return save_whole(whole, tmp_path_factory.mktemp("compressed") / "out", ["t0"])


@pytest.fixture
def server(serving, folder):
    made = serving(folder, limits=Limits(concurrency=1, body_bytes=LIMIT, waiting_bytes=4 * LIMIT))
    yield made
    with Client(made) as client:
        answer = client.infer(next(iter(made.models)), {"t0": X})
        assert answer.outputs["y"].tobytes() == X.tobytes()


def path_of(server):
    return f"/v2/models/{next(iter(server.models))}/infer"


def message():
    found = encode_request({"t0": X})
    headers = {key.replace("-", "_"): text for key, text in found.headers.items() if key != "Content-Length"}
    return b"".join(map(bytes, found.chunks)), headers


BODY, HEADERS = message()


def packed(content=BODY, **more):
    return zstandard.ZstdCompressor(level=1, **more).compress(content)


def ask(server, body, **more):
    with Client(server) as client:
        return client.ask("POST", path_of(server), body, **(HEADERS | more))


def plain_of(answer):
    assert answer.status == 200, answer
    if answer.headers.get("content-encoding") != "zstd":
        return answer.body
    return zstandard.ZstdDecompressor().decompress(answer.body)


def outputs(answer):
    return decode_response(plain_of(answer), answer.headers["inference-header-content-length"]).outputs


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_answers_are_the_same_in_all_ways(server, up, down):
    more = ({"Content_Encoding": "zstd"} if up else {}) | ({"Accept_Encoding": "gzip, zstd"} if down else {})
    answer = ask(server, packed() if up else BODY, **more)
    assert outputs(answer)["y"].tobytes() == X.tobytes()
    assert ("content-encoding" in answer.headers) is down
    assert len(answer.body) < len(BODY) if down else len(answer.body) >= X.nbytes
    timing = answer.headers.get("server-timing", "")
    assert ("decompress;dur=" in timing) is up
    assert (", compress;" in ", " + timing) is down


def test_it_is_announced(server):
    with Client(server) as client:
        described = client.get(path_of(server).removesuffix("/infer"))
        about = client.get("/v2")
        metrics = client.get("/metrics").body.decode()
    assert described.headers["accept-encoding"] == about.headers["accept-encoding"] == "zstd"
    assert "zstd_bodies" in about.json["extensions"]
    assert "dnn_partition_compression 1" in metrics


def test_it_is_counted(server):
    body = packed()
    answer = ask(server, body, Content_Encoding="zstd", Accept_Encoding="zstd")
    ask(server, b"x" * 100, Content_Encoding="zstd")
    with Client(server) as client:
        lines = client.get("/metrics").body.decode().splitlines()
    for line in (
        'compressed_bodies_total{direction="in"} 1',
        f'compressed_bytes_total{{direction="in"}} {len(body)}',
        f'compressed_plain_bytes_total{{direction="in"}} {len(BODY)}',
        'compressed_bodies_total{direction="out"} 1',
        f'compressed_bytes_total{{direction="out"}} {len(answer.body)}',
        f'compressed_plain_bytes_total{{direction="out"}} {len(plain_of(answer))}',
    ):
        assert f"dnn_partition_{line}" in lines


def test_small_answers_and_those_that_do_not_shrink_go_as_they_are(serving, folders, folder):
    small = serving(folders / "chain")
    with Client(small) as client:
        answer = client.infer(next(iter(small.models)), {"t0": np.zeros((1, 4), np.float32)}, Accept_Encoding="zstd")
        assert "content-encoding" not in answer.headers
        assert "server-timing" not in answer.headers
    noise = np.frombuffer(np.random.default_rng(1).bytes(X.nbytes), np.uint32)
    # Any bits but those of NaN and infinity, and of the sign.
    noise = (noise & 0x3FFFFFFF | (noise & 1) << 30 & 0x3FFFFFFF).view(np.float32).reshape(SHAPE)
    made = serving(folder)
    with Client(made) as client:
        answer = client.infer(next(iter(made.models)), {"t0": noise}, Accept_Encoding="zstd")
        assert answer.outputs["y"].tobytes() == noise.tobytes()
        assert "content-encoding" not in answer.headers
        assert answer.headers["server-timing"].startswith("compress;dur=")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd, zstd", "gzip, zstd", "x-zstd", "zstd;q=1", ""])
def test_other_codings_are_415(server, coding):
    answer = ask(server, packed(), Content_Encoding=coding)
    assert answer.status == 415
    assert "send zstd, or the body as it is" in answer.error
    assert answer.headers["accept-encoding"] == "zstd"


@pytest.mark.parametrize("how", ["off", "missing"])
def test_a_server_that_does_not_take_it(serving, folder, how, monkeypatch):
    if how == "missing":
        monkeypatch.setitem(sys.modules, "zstandard", None)
    made = serving(folder, compression=False if how == "off" else None)
    assert made.compression.reason == ("switched off" if how == "off" else "zstandard is not installed: extra zstd")
    with Client(made) as client:
        answer = client.ask("POST", path_of(made), packed(), **HEADERS, Content_Encoding="zstd")
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
        assert "send the body as it is" in answer.error
        assert "zstd_bodies" not in client.get("/v2").json["extensions"]
        assert b"dnn_partition_compression 0" in client.get("/metrics").body
        answer = client.ask("POST", path_of(made), BODY, **HEADERS, Accept_Encoding="zstd")
        assert "content-encoding" not in answer.headers
        assert outputs(answer)["y"].tobytes() == X.tobytes()


def test_asked_for_and_missing_is_an_error(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match="not installed; install the extra zstd"):
        Server([folder], compression=True)


def test_bombs_are_refused_by_the_limit_of_bodies(server):
    for content in (bytes(LIMIT + 1), bytes(100 * LIMIT)):
        answer = ask(server, packed(content), Content_Encoding="zstd")
        assert answer.status == 413
        assert f"at most {LIMIT} are taken" in answer.error
    # As much as may be, and no JSON.
    assert ask(server, packed(bytes(LIMIT)), Content_Encoding="zstd").status == 400


def test_what_is_unpacked_counts_as_bytes_in_memory(serving, folder):
    made = serving(folder, limits=Limits(concurrency=1, body_bytes=LIMIT, waiting_bytes=LIMIT + 1000))
    body = packed(bytes(LIMIT))
    assert len(body) < 500
    with made._service.admission.body(LIMIT - 1000):
        answer = ask(made, body, Content_Encoding="zstd")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert ask(made, body, Content_Encoding="zstd").status == 400
    assert ask(made, packed(), Content_Encoding="zstd").status == 200
    # A body and what it holds never fit: no waiting helps.
    tight = serving(folder, limits=Limits(concurrency=1, body_bytes=LIMIT, waiting_bytes=LIMIT))
    assert ask(tight, body, Content_Encoding="zstd").status == 413


def test_much_json_is_read_one_body_at_a_time(serving, folder):
    """A few bytes may hold megabytes of JSON, and that takes thirty times its size while it is read."""
    made = serving(folder, limits=Limits(concurrency=1, queue_timeout_s=0.1))
    much = b'{"inputs": []' + b" " * LIMIT + b"}"
    with made._service._reading:
        answer = ask(made, packed(much), Content_Encoding="zstd", Inference_Header_Content_Length=len(much))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "JSON of other requests" in answer.error
        assert outputs(ask(made, packed(), Content_Encoding="zstd"))["y"].tobytes() == X.tobytes()
    assert ask(made, packed(much), Content_Encoding="zstd", Inference_Header_Content_Length=len(much)).status == 400
    assert not made._service._reading.locked()


SMALL = packed(b"{}" * 100)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not one frame"),
        (BODY, "not one frame"),
        (packed()[:-1], "cannot be decompressed"),
        (packed()[:100], "cannot be decompressed"),
        (packed() + b"\0", "unused data"),
        (packed() * 2, "unused data"),
        (packed() + SMALL, "unused data"),
        (packed(write_content_size=False), "does not say how many bytes"),
        (SMALL, "is not valid JSON: Extra data"),
        (packed(packed()), "is not valid JSON"),
    ],
)
def test_bodies_that_are_not_right(server, body, message):
    answer = ask(server, body, Content_Encoding="zstd")
    assert answer.status == 400
    assert message in answer.error


def test_the_length_of_the_json_is_that_of_the_plain_body(server):
    plain = int(HEADERS["Inference_Header_Content_Length"])
    for length in (plain + 1, plain - 1, 10**6, -1):
        answer = ask(server, packed(), Content_Encoding="zstd", Inference_Header_Content_Length=length)
        assert answer.status == 400
    headers = {key: text for key, text in HEADERS.items() if key != "Inference_Header_Content_Length"}
    with Client(server) as client:
        assert client.ask("POST", path_of(server), packed(), **headers, Content_Encoding="zstd").status == 400
        found = encode_request({"t0": X[:, :2]}, binary=False)
        text = b"".join(map(bytes, found.chunks))
        assert "shape" in client.ask("POST", path_of(server), packed(text), Content_Encoding="zstd").error


def test_the_token_comes_first(serving, folder):
    made = serving(folder, token="s3cret")
    assert ask(made, b"junk" * 10, Content_Encoding="zstd").status == 401
    answer = ask(made, packed(), Content_Encoding="zstd", Authorization="Bearer s3cret")
    assert outputs(answer)["y"].tobytes() == X.tobytes()


def test_damaged_bodies_are_answered_right_or_refused(server):
    generator = np.random.default_rng(7)
    content = packed(write_checksum=True)
    statuses = set()
    with Client(server) as client:
        for _ in range(scaled(300, 20_000)):
            body = damaged(content, generator)
            answer = client.ask("POST", path_of(server), body, **HEADERS, Content_Encoding="zstd")
            statuses.add(answer.status)
            if answer.status == 200:
                assert outputs(answer)["y"].tobytes() == X.tobytes()
            else:
                assert json.loads(answer.body)["error"]
    assert statuses <= {200, 400, 413}
    assert 400 in statuses
