"""Streams beside a server that dies or hangs: every output comes, in order, and the server is used again."""

import time

import numpy as np
import pytest

import graph_io
from partition import Link, load_plan, partition
from partition.emulation.link import EmulatedLink
from partition.emulation.proxy import Proxy
from partition.remote.errors import RemoteError
from partition.remote.options import RemoteOptions
from partition.serve import Limits, Server
from tests.models import relu_chain

COUNT, FAULT_AT, BACK_AT = 24, 6, 14


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams") / "out"
    graph = graph_io.load_graph(relu_chain(6), granularity="node")
    partition(graph, "wifi", cut=["t1"]).save(folder)
    return folder


@pytest.fixture(scope="module")
def server(saved):
    with Server([saved], threads=1, limits=Limits(concurrency=1)) as running:
        yield running


def frames(begin=lambda: None, end=lambda: None):
    """Give seeded inputs; a fault begins and ends between two of them."""
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        if number == FAULT_AT:
            begin()
        if number == BACK_AT:
            end()
        yield {"x": generator.standard_normal((1, 4)).astype(np.float32)}


def wanted(plan):
    with plan.session(threads=1) as session:
        return [session.run(one)["y"] for one in frames()]


def same(outputs, expected):
    assert len(outputs) == len(expected)
    for found, own in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(found["y"], own)


def wait_for(condition, seconds=20.0):
    end_s = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("rate_per_s", [None, 5.0])
def test_a_server_that_dies_and_comes_back(saved, rate_per_s):
    plan = load_plan(saved)
    expected = wanted(plan)
    servers = [Server([saved], threads=1)]
    servers[0].start()
    port = int(servers[0].url.rsplit(":", 1)[1])

    def back():
        servers.append(Server([saved], threads=1, port=port))
        servers[1].start()

    options = RemoteOptions(shortest_timeout_s=0.3)
    try:
        with plan.session(server=servers[0].url, threads=1, options=options) as session:
            same(list(session.stream(frames(servers[0].stop, back), rate_per_s=rate_per_s)), expected)
            assert len(session.records) == COUNT
            assert any(record.fault for record in session.records)
            assert session.records[0].fault is None
            wait_for(lambda: session.is_remote)
            same(list(session.stream(frames())), expected)
            assert session.last.stages[1].ran_on == "server"
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("fault", ["freeze", "drop"])
def test_a_link_that_freezes_or_breaks(saved, server, fault):
    plan = load_plan(saved)
    expected = wanted(plan)
    port = int(server.url.rsplit(":", 1)[1])
    with Proxy("127.0.0.1", port, EmulatedLink.of(Link.parse("200Mbps", rtt="1ms"))) as proxy:
        options = RemoteOptions(shortest_timeout_s=0.2, longest_timeout_s=0.4)
        url = f"http://127.0.0.1:{proxy.port}"
        with plan.session(server=url, threads=1, options=options) as session:
            begin = {"freeze": proxy.freeze, "drop": proxy.drop}[fault]
            same(list(session.stream(frames(begin, proxy.resume))), expected)
            assert len(session.records) == COUNT
            assert fault == "drop" or any(record.fault for record in session.records)
            wait_for(lambda: session.is_remote)
            same(list(session.stream(frames())), expected)
            wait_for(lambda: session.run({"x": np.zeros((1, 4), np.float32)}) and session.last.fault is None)


def test_without_all_parts_the_stream_ends_with_the_error(saved):
    plan = load_plan(saved)
    expected = wanted(plan)
    server = Server([saved], threads=1)
    server.start()
    options = RemoteOptions(shortest_timeout_s=0.3, hold="own", in_flight=1)
    with plan.session(server=server.url, threads=1, options=options) as session:
        stream = session.stream(frames(server.stop))
        outputs = [next(stream) for _ in range(FAULT_AT)]
        same(outputs, expected[:FAULT_AT])
        with pytest.raises(RemoteError):
            next(stream)
