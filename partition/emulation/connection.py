"""One TCP connection through an emulated link: its bytes wait for the shared queue, the delay, and its own window."""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from dataclasses import dataclass, field

from partition.emulation.link import Direction, EmulatedLink

INITIAL_WINDOW_BYTES = 10 * 1460
"""What a new connection may have under way before the first acknowledgement (RFC 6928)."""

# What one connection may have under way and undelivered: about the receive window of a system that was not tuned.
_WINDOW_BYTES = 6 * 2**20
_LEAST_READ_BYTES, _MOST_READ_BYTES = 1500, 2**16
# Bytes are queued in portions of about this much time at the mean rate.
_PORTION_S = 1e-3


class Bottleneck:
    """The queue before one direction of the link, shared by all connections, bounded, first come first served.

    Parameters
    ----------
    link : EmulatedLink
        Holds when the direction is free.
    direction : {"uplink", "downlink"}
    queue_bytes : int
        How much may wait to leave.
    """

    def __init__(self, link: EmulatedLink, direction: Direction, queue_bytes: int) -> None:
        self.link = link
        self.direction = direction
        self.cut_after_bytes: int | None = None
        mean_bytes_per_s = link.profiles[direction].mean_bits_per_s() / 8
        portion_bytes = min(max(int(mean_bytes_per_s * _PORTION_S), _LEAST_READ_BYTES), _MOST_READ_BYTES)
        self.portion_bytes = min(portion_bytes, queue_bytes)
        self._queue_bytes = queue_bytes
        self._leaving: deque[tuple[float, int]] = deque()
        self._waiting_bytes = 0
        self._turn = asyncio.Lock()

    async def push(self, size_bytes: int, ready_s: float) -> tuple[float, float]:
        """Wait for room, and return when the bytes entered the queue and when the last of them leaves.

        `ready_s` may lie in the past: who was woken late is not made later by it, so that the rate holds.
        """
        async with self._turn:
            while self._waiting_bytes + size_bytes > self._queue_bytes:
                left_s, size = self._leaving[0]
                await sleep_until(self.link, left_s)
                self._leaving.popleft()
                self._waiting_bytes -= size
                ready_s = max(ready_s, left_s)
            left_s = self.link.occupy(self.direction, size_bytes, ready_s)
            self._leaving.append((left_s, size_bytes))
            self._waiting_bytes += size_bytes
            return ready_s, left_s


async def sleep_until(link: EmulatedLink, time_s: float) -> None:
    """Let others run until a time on the link's clock; return at once where it has passed."""
    left_s = time_s - link.clock.now_s()
    if left_s > 0:
        await asyncio.sleep(left_s)


@dataclass(slots=True)
class _SlowStart:
    """How much a young connection may send: its window grows by all that is acknowledged, so it doubles each round."""

    rtt_s: float
    window_bytes: int = INITIAL_WINDOW_BYTES
    under_way_bytes: int = 0
    acknowledged: deque[tuple[float, int]] = field(default_factory=deque)

    def room(self, now_s: float) -> tuple[int, float]:
        """Return how many bytes may leave by a time, and if none may, when the next acknowledgement comes."""
        while self.acknowledged and self.acknowledged[0][0] <= now_s:
            size_bytes = self.acknowledged.popleft()[1]
            self.under_way_bytes -= size_bytes
            self.window_bytes += size_bytes
        free_bytes = self.window_bytes - self.under_way_bytes
        return free_bytes, now_s if free_bytes > 0 else self.acknowledged[0][0]

    def sent(self, size_bytes: int, left_s: float) -> None:
        self.under_way_bytes += size_bytes
        self.acknowledged.append((left_s + self.rtt_s, size_bytes))


class OneWay:
    """One direction of a connection: reads from one socket, and writes to the other what has arrived.

    Parameters
    ----------
    source, target : socket
        Not blocking.
    bottleneck : Bottleneck
        Of this direction.
    moving : asyncio.Event
        While it is not set, nothing moves.
    opened_s : float
        When the connection is open: nothing leaves before. On the link's clock.
    slow_start : bool
        Whether the window begins small.
    """

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        bottleneck: Bottleneck,
        moving: asyncio.Event,
        *,
        opened_s: float,
        slow_start: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._bottleneck = bottleneck
        self._link = bottleneck.link
        self._moving = moving
        self._opened_s = opened_s
        rtt_s = 2 * self._link.delay_s
        self._slow_start = _SlowStart(rtt_s) if slow_start and rtt_s > 0 else None
        # Arrival and bytes; no bytes are the end of the stream, None is a reset.
        self._arriving: deque[tuple[float, bytes | None]] = deque()
        self._has_arriving = asyncio.Event()
        self._undelivered_bytes = 0
        self._was_delivered = asyncio.Event()

    async def pump(self) -> None:
        """Read until the source ends, and queue what it sends."""
        loop = asyncio.get_running_loop()
        ready_s = self._opened_s
        while True:
            try:
                try:
                    data = self._source.recv(self._bottleneck.portion_bytes)
                except (BlockingIOError, InterruptedError):
                    data = await loop.sock_recv(self._source, self._bottleneck.portion_bytes)
                    ready_s = max(self._opened_s, self._link.clock.now_s())
            except OSError:
                self._arrive(max(ready_s, self._link.clock.now_s()), None)
                return
            if not self._moving.is_set():
                await self._moving.wait()
                ready_s = max(ready_s, self._link.clock.now_s())
            if not data:
                self._arrive(ready_s, b"")
                return
            ready_s = await self._send(data, ready_s)
            while self._undelivered_bytes > _WINDOW_BYTES:
                self._was_delivered.clear()
                await self._was_delivered.wait()
                ready_s = self._link.clock.now_s()
            # Reads that never wait would let no one else run.
            await asyncio.sleep(0)

    async def _send(self, data: bytes, ready_s: float) -> float:
        start = 0
        while start < len(data):
            size_bytes = len(data) - start
            if self._slow_start is not None:
                free_bytes, ready_s = self._slow_start.room(ready_s)
                if free_bytes <= 0:
                    continue
                size_bytes = min(size_bytes, free_bytes)
            await sleep_until(self._link, ready_s)
            ready_s, left_s = await self._bottleneck.push(size_bytes, ready_s)
            if self._slow_start is not None:
                self._slow_start.sent(size_bytes, left_s)
                if self._slow_start.window_bytes > _WINDOW_BYTES:
                    self._slow_start = None
            self._arrive(left_s, data[start : start + size_bytes])
            start += size_bytes
        return ready_s

    def _arrive(self, left_s: float, data: bytes | None) -> None:
        # The end of a stream never overtakes its bytes.
        arrival_s = max(left_s + self._link.delay_s, self._arriving[-1][0] if self._arriving else 0.0)
        self._arriving.append((arrival_s, data))
        self._undelivered_bytes += len(data or b"")
        self._has_arriving.set()

    async def deliver(self) -> None:
        """Write what arrives, when it arrives, until the end of the stream; a reset raises ConnectionResetError."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._arriving:
                self._has_arriving.clear()
                await self._has_arriving.wait()
            arrival_s, data = self._arriving[0]
            await sleep_until(self._link, arrival_s)
            await self._moving.wait()
            if data is None:
                raise ConnectionResetError("the source was reset")
            if not data:
                self._target.shutdown(socket.SHUT_WR)
                return
            limit = self._bottleneck.cut_after_bytes
            if limit is not None and len(data) >= limit:
                self._bottleneck.cut_after_bytes = None
                await loop.sock_sendall(self._target, data[:limit])
                raise ConnectionResetError("cut off after as many bytes as asked for")
            if limit is not None:
                self._bottleneck.cut_after_bytes = limit - len(data)
            await loop.sock_sendall(self._target, data)
            self._arriving.popleft()
            self._undelivered_bytes -= len(data)
            self._was_delivered.set()


async def run_both_ways(device_side: socket.socket, server_side: socket.socket, ways: tuple[OneWay, OneWay]) -> None:
    """Carry a connection until both directions have ended, and close it; a reset of one end resets the other.

    Cancelling resets both ends.
    """
    is_ended = False
    try:
        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(way.pump())
                group.create_task(way.deliver())
        is_ended = True
    except* OSError:
        pass
    finally:
        for end in (device_side, server_side):
            close(end, reset=not is_ended)


def close(end: socket.socket, *, reset: bool) -> None:
    """Close a socket; with a reset, at once and with an error at the other end."""
    if reset:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
