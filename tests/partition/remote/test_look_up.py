"""Names of servers that nobody can look up, or not in time."""

import socket
import threading
import time

import pytest

from partition.remote.errors import TimedOut, Unreachable
from partition.remote.look_up import addresses
from partition.remote.wire import Connection, Endpoint
from tests.partition.remote.scripted import ScriptedServer, answer

REAL = socket.getaddrinfo


class SlowNames:
    """Looks names up only when it is let; numbers at once, as the system does."""

    def __init__(self):
        self.go_on = threading.Event()
        self.calls = 0

    def __call__(self, host, port, family=0, kind=0, protocol=0, flags=0):
        if flags & socket.AI_NUMERICHOST:
            return REAL(host, port, family, kind, protocol, flags)
        self.calls += 1
        assert self.go_on.wait(20)
        return REAL("127.0.0.1", port, family, kind, protocol, flags)


@pytest.fixture
def slow(monkeypatch):
    names = SlowNames()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    yield names
    names.go_on.set()


def test_a_look_up_ends_with_the_deadline_and_the_next_one_waits_for_the_same(slow):
    with ScriptedServer(answer(b"hello")) as server:
        endpoint = Endpoint.parse(f"http://server.test:{server.port}")
        begun_s = time.perf_counter()
        for _ in range(3):
            with pytest.raises(TimedOut, match="did not take a connection in time"):
                Connection(endpoint, deadline_s=time.perf_counter() + 0.05)
        assert time.perf_counter() - begun_s < 10
        assert slow.calls == 1
        threading.Timer(0.05, slow.go_on.set).start()
        with Connection(endpoint, deadline_s=time.perf_counter() + 10) as connection:
            assert connection.exchange("GET", "/", deadline_s=time.perf_counter() + 10).status == 200
        assert slow.calls == 1


def test_numbers_need_no_look_up(slow):
    assert addresses("127.0.0.1", 80, timeout_s=0.001)[0][4] == ("127.0.0.1", 80)
    assert slow.calls == 0


def test_a_name_that_is_none(monkeypatch):
    def unknown(host, *_):
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match=r"nowhere\.test is unknown"):
        Connection(Endpoint.parse("http://nowhere.test:80"), deadline_s=time.perf_counter() + 10)
    monkeypatch.setattr(socket, "getaddrinfo", REAL)
    with pytest.raises(Unreachable, match="no name of a host"):
        Connection(Endpoint.parse(f"http://{'a' * 70}.test:80"), deadline_s=time.perf_counter() + 10)
