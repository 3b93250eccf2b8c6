"""What ``two_hosts.sh`` measures by itself: 1 MB up and down between two namespaces, cold and warm."""

import os
import socket
import statistics
import sys
import time

from partition.units import parse_bandwidth, parse_duration

SIZE_BYTES = 1_000_000
REPETITIONS = 7
_TC_UNITS = {"kbit": "kbit/s", "mbit": "Mbit/s", "gbit": "Gbit/s"}


def serve() -> None:
    """Take 1 MB, answer one byte, send 1 MB, until the connection ends; one connection after the other."""
    address = (os.environ["SERVER_HOST"], int(os.environ["SERVER_PORT"]))
    with socket.create_server(address) as listener:
        while True:
            end, _ = listener.accept()
            with end:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while _receive(end):
                    end.sendall(b"x")
                    if not end.recv(1):
                        break
                    end.sendall(bytes(SIZE_BYTES))


def measure(uplink: str, downlink: str, rtt: str) -> None:
    """Print what each direction takes, and the share of its rate that this is."""
    rtt_s = 0.0 if rtt == "0" else parse_duration(rtt)
    cold = _round()
    with _connect() as end:
        _exchange(end)
        warm = [_exchange(end) for _ in range(REPETITIONS)]
    for number, (direction, rate) in enumerate((("up", uplink), ("down", downlink))):
        ideal_s = 8 * SIZE_BYTES / _bits_per_s(rate)
        times_s = [one[number] - rtt_s for one in warm]
        median_s = statistics.median(times_s)
        print(
            f"1 MB {direction:<5} {1e3 * median_s:7.1f} ms ({1e3 * min(times_s):.1f} to {1e3 * max(times_s):.1f}), "
            f"ideal {1e3 * ideal_s:.1f} ms: goodput {ideal_s / median_s:.3f} of the rate; "
            f"cold {1e3 * (cold[number] - rtt_s):.1f} ms"
        )


def _round() -> tuple[float, float]:
    start_s = time.perf_counter()
    with _connect() as end:
        opened_s = time.perf_counter() - start_s
        up_s, down_s = _exchange(end)
    return opened_s + up_s, down_s


def _connect() -> socket.socket:
    end = socket.create_connection((os.environ["SERVER_HOST"], int(os.environ["SERVER_PORT"])))
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _exchange(end: socket.socket) -> tuple[float, float]:
    """Return the seconds for 1 MB up and its answer, and for a question and 1 MB down."""
    start_s = time.perf_counter()
    end.sendall(bytes(SIZE_BYTES))
    end.recv(1)
    middle_s = time.perf_counter()
    end.sendall(b"x")
    _receive(end)
    return middle_s - start_s, time.perf_counter() - middle_s


def _receive(end: socket.socket) -> bool:
    left = SIZE_BYTES
    while left and (data := end.recv(min(left, 65536))):
        left -= len(data)
    return not left


def _bits_per_s(rate: str) -> float:
    """Read a rate as tc writes it."""
    for unit, ours in _TC_UNITS.items():
        if rate.endswith(unit):
            return parse_bandwidth(rate.removesuffix(unit) + ours)
    return parse_bandwidth(rate)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1:2] == ["measure"] and len(sys.argv) == 5:
        measure(*sys.argv[2:])
    else:
        sys.exit("usage: python -m benchmarks.two_hosts serve | measure UPLINK DOWNLINK RTT")
