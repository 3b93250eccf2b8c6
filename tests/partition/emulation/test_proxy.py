"""The proxy between real sockets: bytes unchanged and in order, errors passed on, faults; no test of its timing."""

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from partition import Link
from partition.emulate_command import emulated_link
from partition.emulation.clock import VirtualClock
from partition.emulation.link import EmulatedLink
from partition.emulation.proxy import Proxy
from partition.errors import InputError
from tests.partition.conftest import ROOT, command_environment

TIMEOUT_S = 30
FAST = Link.parse("1Gbps", rtt="2ms")
DATA = random.Random(3).randbytes(1_000_000)


class EchoServer:
    """Sends back what it gets, to any number of connections."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self):
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            end.settimeout(TIMEOUT_S)
            thread = threading.Thread(target=self._serve, args=(end,))
            self.threads.append(thread)
            thread.start()

    def _serve(self, end):
        with end, contextlib.suppress(OSError):
            while data := end.recv(65536):
                end.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(TIMEOUT_S)


@pytest.fixture
def server():
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def proxy(server):
    with Proxy("127.0.0.1", server.port, EmulatedLink.of(FAST)) as proxy:
        yield proxy


def connect(proxy):
    return socket.create_connection((proxy.host, proxy.port), TIMEOUT_S)


def receive(end, size_bytes):
    data = b""
    while len(data) < size_bytes and (got := end.recv(65536)):
        data += got
    return data


def receive_into(end, received):
    while got := end.recv(65536):
        received += got


def echoed(end, data):
    """Send and receive at the same time, as what is sent may be more than fits on the way."""
    sender = threading.Thread(target=end.sendall, args=(data,))
    sender.start()
    got = receive(end, len(data))
    sender.join(TIMEOUT_S)
    return got


def is_reset(end):
    """Whether a connection ends with an error, once all that had arrived is read."""
    try:
        while end.recv(65536):
            pass
    except ConnectionError:
        return True
    return False


def test_bytes_are_unchanged_and_in_order(proxy):
    rng = random.Random(1)
    with connect(proxy) as end:
        for _ in range(20):
            data = rng.randbytes(rng.choice([1, 100, 1460, 70_000]))
            assert echoed(end, data) == data
        assert echoed(end, DATA) == DATA


def test_many_connections_at_once(proxy):
    found = {}

    def run(number):
        data = random.Random(number).randbytes(50_000)
        with connect(proxy) as end:
            found[number] = echoed(end, data) == data

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert found == dict.fromkeys(range(16), True)


def test_half_close(proxy):
    with connect(proxy) as end:
        end.sendall(DATA[:100_000])
        end.shutdown(socket.SHUT_WR)
        data = b""
        while got := end.recv(65536):
            data += got
        assert data == DATA[:100_000]


def test_a_reset_is_passed_on():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_S)
        with Proxy("127.0.0.1", listener.getsockname()[1], EmulatedLink.of(FAST)) as proxy:
            for resetting in ("server", "client"):
                client = connect(proxy)
                there, _ = listener.accept()
                there.settimeout(TIMEOUT_S)
                client.sendall(b"x")
                assert receive(there, 1) == b"x"
                first, second = (there, client) if resetting == "server" else (client, there)
                first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                first.close()
                assert is_reset(second)
                second.close()


def test_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Proxy("127.0.0.1", port, EmulatedLink.of(FAST)) as proxy:
        try:
            with connect(proxy) as end:
                assert is_reset(end)
        except ConnectionResetError:
            pass  # it came while connecting


def test_freeze_and_resume(proxy):
    with connect(proxy) as end:
        assert echoed(end, b"before") == b"before"
        proxy.freeze()
        end.sendall(b"while")
        with connect(proxy) as other:
            other.sendall(b"other")
            end.settimeout(0.2)
            with pytest.raises(TimeoutError):
                end.recv(5)
            end.settimeout(TIMEOUT_S)
            proxy.resume()
            assert receive(end, 5) == b"while"
            assert receive(other, 5) == b"other"


def test_drop_and_resume(proxy):
    with connect(proxy) as end:
        assert echoed(end, b"before") == b"before"
        proxy.drop()
        assert is_reset(end)
        for _ in range(2):
            proxy.drop()
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
    proxy.resume()
    proxy.resume()
    with connect(proxy) as end:
        assert echoed(end, b"after") == b"after"


@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_cut_after(proxy, direction):
    with connect(proxy) as end:
        assert echoed(end, b"before") == b"before"
        proxy.cut_after(100_000, direction=direction)
        with contextlib.suppress(ConnectionError):
            end.sendall(DATA[:400_000])
        received = bytearray()
        with pytest.raises(ConnectionError):
            receive_into(end, received)
        assert len(received) <= 100_000
        assert received == DATA[: len(received)]
    with connect(proxy) as end:
        assert echoed(end, DATA) == DATA


def test_slow(proxy):
    proxy.slow(50)
    assert proxy.link.rate_at("uplink", 0) == 20e6
    with connect(proxy) as end:
        assert echoed(end, DATA[:10_000]) == DATA[:10_000]
        proxy.slow(1)
        assert echoed(end, DATA) == DATA


def test_a_closed_proxy_refuses(server):
    proxy = Proxy("127.0.0.1", server.port, EmulatedLink.of(FAST))
    with connect(proxy) as end:
        proxy.close()
        assert is_reset(end)
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    with pytest.raises(InputError, match="it is closed"):
        proxy.freeze()


def test_what_it_refuses(proxy):
    link = EmulatedLink.of(FAST)
    with pytest.raises(InputError, match="sockets cannot live in virtual time"):
        Proxy("127.0.0.1", 1, EmulatedLink.of(FAST, clock=VirtualClock()))
    with pytest.raises(InputError, match="give 1500 or more"):
        Proxy("127.0.0.1", 1, link, queue_bytes=1499)
    with pytest.raises(InputError, match="cannot listen on"):
        Proxy("127.0.0.1", 1, link, port=proxy.port)
    with pytest.raises(InputError, match="target port 70000"):
        Proxy("127.0.0.1", 70_000, link)
    with pytest.raises(InputError, match=r"target host 'a\.\.b' is not known"):
        Proxy("a..b", 1, link)
    with pytest.raises(InputError, match="1 byte or more"):
        proxy.cut_after(0)
    with pytest.raises(InputError, match="factor above 0"):
        proxy.slow(0)


def test_the_command(server, tmp_path):
    (tmp_path / "trace").write_text("0 1000\n1 500\n", encoding="utf-8")
    arguments = ["--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{server.port}", "--rtt", "1ms", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "partition", "emulate", *arguments, "--trace", str(tmp_path / "trace")],
        cwd=ROOT,
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        text = ""
        while not text.endswith("}\n") and (line := process.stdout.readline()):
            text += line
        told = json.loads(text)
        assert told["mean_uplink_bits_per_s"] == told["mean_downlink_bits_per_s"] == pytest.approx(750e6)
        assert told["assumptions"] == ["downlink = the uplink's trace (not given)"]
        with socket.create_connection((told["host"], told["port"]), TIMEOUT_S) as end:
            assert hashlib.sha256(echoed(end, DATA)).digest() == hashlib.sha256(DATA).digest()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, errors) == (130, "dnn-partition: error: interrupted\n")
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()


def test_the_link_of_the_options(tmp_path):
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    slow.write_text("0 1\n", encoding="utf-8")
    fast.write_text("1\n2\n", encoding="utf-8")

    def rates(**options):
        link, assumptions = emulated_link(**options)
        return [link.profiles[one].mean_bits_per_s() for one in ("uplink", "downlink")], link.delay_s, len(assumptions)

    assert rates(bandwidth="4g") == ([pytest.approx(8.8e6), pytest.approx(29.1e6)], 0.03, 1)
    assert rates(bandwidth="8Mbps", downlink="2Mbps", rtt="10ms") == ([8e6, 2e6], 0.005, 0)
    assert rates(bandwidth="8Mbps", downlink_trace=slow) == ([8e6, 1e6], 0.02, 1)
    assert rates(trace=slow) == ([1e6, 1e6], 0.02, 2)
    assert rates(trace=slow, downlink="3Mbps", rtt="0s") == ([1e6, 3e6], 0, 0)
    assert rates(trace=slow, downlink_trace=fast, rtt="0s") == ([1e6, 12e6], 0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--to'"),
        (["--to", "127.0.0.1:1"], "the uplink is given by --bandwidth or by --trace"),
        (["--to", "127.0.0.1:1", "-b", "4g", "--trace", "x"], "give one of the two"),
        (["--to", "127.0.0.1:1", "-b", "4g", "--downlink", "1Mbps", "--downlink-trace", "x"], "give one of the two"),
        (["--to", "127.0.0.1:1", "-b", "8.8mbps"], "ambiguous unit"),
        (["--to", "127.0.0.1:1", "--trace", "missing"], "trace 'missing' cannot be read"),
        (["--to", "127.0.0.1", "-b", "4g"], "--to got '127.0.0.1'; write it as HOST:PORT"),
        (["--to", "127.0.0.1:1", "-b", "4g", "--listen", "x:99999"], "--listen got 'x:99999'"),
        (["--to", "127.0.0.1:1", "-b", "4g", "--queue", "10B"], "a queue of 10 bytes"),
    ],
)
def test_wrong_options(arguments, message, monkeypatch, capsys):
    from partition.cli import main

    monkeypatch.setattr(sys, "argv", ["dnn-partition", "emulate", *arguments])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert re.search(re.escape(message), errors)
