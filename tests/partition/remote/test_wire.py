"""HTTP over one connection: what comes back, in time, whatever the server sends."""

import contextlib
import socket
import time

import numpy as np
import pytest

from partition import InputError
from partition.remote.errors import BadAnswer, RemoteError, TimedOut, Unreachable
from partition.remote.wire import LARGEST_HEAD_BYTES, Connection, Endpoint
from tests.partition.remote.scripted import ScriptedServer, answer
from tests.scale import scaled


def soon(seconds=5.0):
    return time.perf_counter() + seconds


def get(server, *, seconds=5.0, chunks=(), headers=None):
    with Connection(Endpoint.parse(server.url), deadline_s=soon()) as connection:
        return connection.exchange("POST", "/x", chunks=chunks, headers=headers, deadline_s=soon(seconds))


def test_an_answer_and_what_it_took():
    with ScriptedServer(answer(b"hello", headers=b"X-Thing:  a  \r\n")) as server:
        endpoint = Endpoint.parse(server.url, token="secret")
        with Connection(endpoint, deadline_s=soon()) as connection:
            first = connection.exchange("GET", "/a", deadline_s=soon())
            second = connection.exchange("GET", "/b", deadline_s=soon())
    assert bytes(first.body) == bytes(second.body) == b"hello"
    assert first.status == 200
    assert first.headers["x-thing"] == "a"
    assert (first.cold, second.cold) == (True, False)
    assert first.begun_s <= first.sent_s <= first.first_byte_s <= first.ended_s
    assert first.received_bytes == len(answer(b"hello", headers=b"X-Thing:  a  \r\n"))
    assert server.n_connections == 1
    head = server.requests[0][0]
    assert head.startswith(b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Bearer secret" in head


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 70_000, 5_000_000])
def test_bodies_of_any_size_arrive_as_they_are(size):
    body = np.random.default_rng(size).bytes(size)
    with ScriptedServer(answer(body)) as server:
        reply = get(server, chunks=[b"head", memoryview(body)], headers={"Content-Length": str(4 + size)})
    assert bytes(reply.body) == body
    assert server.requests[0][1] == b"head" + body


@pytest.mark.parametrize(
    "script",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n",
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 0.01, b"5\r\nab", 0.01, b"cde\r\n0\r", b"\n\r\n"],
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + answer(b"abcde"),
        [b"HTTP/1.1 200", 0.01, b" OK\r\nContent-Length: 5\r", 0.01, b"\n\r\nab", 0.01, b"cde"],
    ],
)
def test_answers_in_pieces_and_chunks(script):
    with ScriptedServer(script) as server:
        assert bytes(get(server).body) == b"abcde"


@pytest.mark.parametrize(
    ("script", "error", "problem"),
    [
        ("close", Unreachable, "without an answer"),
        ([b"HTTP/1.1 200 OK\r\nCont", "close"], BadAnswer, "within the headers"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "close"], Unreachable, "after 3 of 10 bytes"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", BadAnswer, "does not speak HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", BadAnswer, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", BadAnswer, "a header that is none"),
        (b"HTTP/1.1 200 OK\r\n\r\n", BadAnswer, "how long its answer is"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", BadAnswer, "how long its answer is"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", BadAnswer, "announces an answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", BadAnswer, "how long its answer is"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BadAnswer, "impossible length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", BadAnswer, "impossible length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", BadAnswer, "longer than it said"),
        (b"x" * (LARGEST_HEAD_BYTES + 100), BadAnswer, "bytes of headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + b"HTTP/1.1 x", BadAnswer, "within the headers"),
    ],
)
def test_what_is_no_answer(script, error, problem):
    script = [*script, "close"] if isinstance(script, list) else [script, "close"]
    with ScriptedServer(script) as server, pytest.raises(error, match=problem):
        get(server)


@pytest.mark.parametrize(
    "script",
    [
        [5.0],
        [b"HTTP/1.1 200 OK\r\n", 5.0],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 5.0],
        # A byte now and then: each comes in time, the answer as a whole does not.
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"a", 0.05] * 100],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n", 0.05] * 100],
    ],
)
def test_a_deadline_holds_for_the_answer_as_a_whole(script):
    begun_s = time.perf_counter()
    with ScriptedServer(script) as server, pytest.raises(TimedOut, match="in time"):
        get(server, seconds=0.3)
    assert time.perf_counter() - begun_s < 3.0


def test_a_connection_is_not_used_after_a_fault_or_when_the_server_closes_it():
    with ScriptedServer(answer(b"a", headers=b"Connection: close\r\n")) as server:
        connection = Connection(Endpoint.parse(server.url), deadline_s=soon())
        connection.exchange("GET", "/", deadline_s=soon())
        assert not connection.usable
        with pytest.raises(Unreachable, match="closed"):
            connection.exchange("GET", "/", deadline_s=soon())
    with ScriptedServer(answer(b"a") + b"more") as server:
        connection = Connection(Endpoint.parse(server.url), deadline_s=soon())
        connection.exchange("GET", "/", deadline_s=soon())
        assert not connection.usable


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached"):
        Connection(Endpoint.parse(f"http://127.0.0.1:{port}"), deadline_s=soon())


def test_a_server_without_tls_is_no_https_server():
    with ScriptedServer(b"hello") as server, pytest.raises(Unreachable, match="does not speak TLS"):
        Connection(Endpoint.parse(server.url.replace("http:", "https:")), deadline_s=soon(1.0))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("server:8000", "is not the URL"),
        ("ftp://server", "is not the URL"),
        ("http://", "is not the URL"),
        ("http://a:b@server", "is not the URL"),
        ("http://server:99999", "is not a URL"),
        ("http://server/?a=b", "is not the URL"),
    ],
)
def test_what_is_no_url(url, problem):
    with pytest.raises(InputError, match=problem):
        Endpoint.parse(url)


@pytest.mark.parametrize("token", ["", "a b", "line\nbreak", "é"])
def test_tokens_that_no_header_carries(token):
    with pytest.raises(InputError, match="token"):
        Endpoint.parse("http://server", token=token)


def test_urls_print_as_they_are_meant():
    assert str(Endpoint.parse("https://server/path/")) == "https://server:443/path"
    assert str(Endpoint.parse("http://[::1]:8000")) == "http://[::1]:8000"


def test_garbage_never_gets_further_than_a_remote_error():
    generator = np.random.default_rng(0)
    headers = [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]
    pieces = [b"HTTP/1.1 200 OK\r\n", *headers, b"\r\n", b"abc", b"3\r\n"]
    scripts = []
    for _ in range(scaled(150, 5000)):
        chosen = [pieces[number] for number in generator.integers(len(pieces), size=generator.integers(1, 6))]
        content = bytearray(b"".join(chosen))
        for _ in range(generator.integers(0, 4)):
            content[generator.integers(len(content))] = generator.integers(256)
        scripts.append([bytes(content), "close"])
    with ScriptedServer(*scripts) as server:
        for _ in scripts:
            with contextlib.suppress(RemoteError):
                get(server, seconds=2.0)
