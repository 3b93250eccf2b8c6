"""A machine that gives no more threads: what was to be done in one is left out, and tried again later."""

import logging
import threading

import pytest

from partition.adaptation.conditions import Conditions
from partition.remote.breaker import Breaker
from partition.remote.errors import RemoteError, Unreachable
from partition.remote.options import RemoteOptions
from partition.remote.remote_server import RemoteServer
from partition.remote.wire import Endpoint


@pytest.fixture
def no_threads(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch


def test_the_breaker_stays_closed(no_threads, caplog):
    probed = threading.Event()
    breaker = Breaker(probed.set, (RemoteError,))
    with caplog.at_level(logging.ERROR):
        breaker.failed()
    assert breaker.passes
    assert "no thread" in caplog.text
    breaker.close()

    no_threads.undo()
    breaker = Breaker(probed.set, (RemoteError,))
    breaker.failed()
    assert probed.wait(5)
    breaker.close()


def test_asking_in_the_background_is_possible_again(no_threads, caplog):
    conditions = Conditions(1e6, 1e6, 0.001, 1.0, 1.0)
    server = RemoteServer(Endpoint.parse("http://127.0.0.1:1"), [], conditions, RemoteOptions(), {})
    asked = threading.Event()
    with caplog.at_level(logging.ERROR):
        server.in_background(asked.set)
    assert not asked.is_set()
    assert "no thread" in caplog.text
    no_threads.undo()

    def fails():
        asked.set()
        raise Unreachable("nobody there")

    server.in_background(fails)
    assert asked.wait(5)
    server.close()
