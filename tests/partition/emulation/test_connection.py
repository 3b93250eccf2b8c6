"""How the proxy shapes bytes, exactly: real sockets in virtual time, which jumps whenever no socket is ready."""

import asyncio
import contextlib
import random
import selectors
import socket

import pytest

from partition import Link
from partition.emulation.clock import VirtualClock
from partition.emulation.connection import INITIAL_WINDOW_BYTES, Bottleneck, OneWay, run_both_ways
from partition.emulation.link import EmulatedLink
from partition.emulation.profile import RateProfile

MESSAGE = random.Random(7).randbytes(1_100_000)
QUEUE_BYTES = 64 * 1024


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nothing can be read or written."""

    def __init__(self, clock):
        class JumpingSelector(selectors.DefaultSelector):
            def select(self, timeout=None):
                ready = super().select(0)
                if not ready and timeout != 0:
                    assert timeout is not None, "nothing will ever happen"
                    clock.advance(timeout)
                return ready

        self.clock = clock
        super().__init__(JumpingSelector())

    def time(self):
        return self.clock.now_s()


class Rig:
    """Connections over one emulated link in virtual time."""

    def __init__(self, uplink="8.8Mbps", downlink="80Mbps", *, rtt_s=0.04, cold_start=False, profile=None):
        self.clock = VirtualClock()
        up = RateProfile.constant(uplink) if profile is None else profile
        self.link = EmulatedLink(up, RateProfile.constant(downlink), delay_s=rtt_s / 2, clock=self.clock)
        self.up = Bottleneck(self.link, "uplink", QUEUE_BYTES)
        self.down = Bottleneck(self.link, "downlink", QUEUE_BYTES)
        self.cold_start = cold_start
        self.ends = []

    def run(self, work):
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(self.clock)) as runner:
            try:
                return runner.run(work(self))
            finally:
                for end in self.ends:
                    end.close()

    def connect(self):
        """Return the device's and the server's end of a new connection, and the task that carries it."""
        self.moving = asyncio.Event()
        self.moving.set()
        device, near = socket.socketpair()
        far, server = socket.socketpair()
        for end in (device, near, far, server):
            end.setblocking(False)
        self.ends += [device, near, far, server]
        opened_s = self.clock.now_s() + (2 * self.link.delay_s if self.cold_start else 0)
        options = {"opened_s": opened_s, "slow_start": self.cold_start}
        ways = (
            OneWay(near, far, self.up, self.moving, **options),
            OneWay(far, near, self.down, self.moving, **options),
        )
        return device, server, asyncio.ensure_future(run_both_ways(near, far, ways))

    async def receive(self, end, size_bytes):
        """Return so many bytes, and the time at which the last of them came."""
        data = b""
        while len(data) < size_bytes:
            got = await asyncio.get_running_loop().sock_recv(end, 65536)
            assert got
            data += got
        assert len(data) == size_bytes
        return data, self.clock.now_s()


def send(end, data):
    return asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(end, data))


def test_a_message_takes_its_size_over_the_rate_and_the_delay():
    async def work(rig):
        device, server, task = rig.connect()
        for start_s in (0.0, 1.02):
            assert rig.clock.now_s() == pytest.approx(start_s)
            sending = send(device, MESSAGE)
            data, now_s = await rig.receive(server, len(MESSAGE))
            await sending
            assert data == MESSAGE
            assert now_s == pytest.approx(start_s + 1.0 + 0.02)
        sending = send(server, MESSAGE[:100_000])
        _, now_s = await rig.receive(device, 100_000)
        await sending
        assert now_s == pytest.approx(2.04 + 0.01 + 0.02)
        task.cancel()

    Rig().run(work)


@pytest.mark.parametrize("bandwidth", ["100kbps", "100Mbps", "1Gbps", "10Gbps"])
def test_any_rate(bandwidth):
    async def work(rig):
        device, server, task = rig.connect()
        sending = send(device, MESSAGE)
        _, now_s = await rig.receive(server, len(MESSAGE))
        await sending
        assert now_s == pytest.approx(rig.link.profiles["uplink"].transfer_s(len(MESSAGE), 0) + 0.02)
        task.cancel()

    Rig(bandwidth).run(work)


def test_a_trace_with_an_outage():
    async def work(rig):
        device, server, task = rig.connect()
        sending = send(device, MESSAGE)
        _, now_s = await rig.receive(server, len(MESSAGE))
        await sending
        assert now_s == pytest.approx(4.02)
        task.cancel()

    Rig(profile=RateProfile.stepped([(0, "4.4Mbps"), (1, 0), (3, "4.4Mbps")])).run(work)


def test_connections_share_the_rate():
    async def work(rig):
        connections = [rig.connect() for _ in range(2)]
        sending = [send(device, MESSAGE) for device, _, _ in connections]
        received = await asyncio.gather(*(rig.receive(server, len(MESSAGE)) for _, server, _ in connections))
        await asyncio.gather(*sending)
        assert [data for data, _ in received] == [MESSAGE] * 2
        ends_s = sorted(now_s for _, now_s in received)
        assert ends_s[1] == pytest.approx(2.02)
        # They take turns, so both end together.
        assert ends_s[0] > 1.95
        for _, _, task in connections:
            task.cancel()

    Rig().run(work)


def test_senders_are_held_back():
    """What a sender may hand over at once is the queue, what was read for it, and what the sockets hold."""

    async def work(rig):
        device, _, task = rig.connect()
        await asyncio.sleep(0.001)
        sent = 0
        for _ in range(1000):
            with contextlib.suppress(BlockingIOError):
                sent += device.send(bytes(65536))
            await asyncio.sleep(0)
        held = device.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert rig.clock.now_s() == pytest.approx(0.001)
        assert QUEUE_BYTES // 2 < sent < 2 * QUEUE_BYTES + held
        task.cancel()

    Rig().run(work)


def test_one_that_does_not_read_is_held_back_and_does_not_stop_others():
    async def work(rig):
        device, _, stuck = rig.connect()
        sending = send(device, bytes(12_000_000))
        await asyncio.sleep(5)
        assert not sending.done()
        other, server, task = rig.connect()
        start_s = rig.clock.now_s()
        second = send(other, MESSAGE)
        data, now_s = await rig.receive(server, len(MESSAGE))
        await second
        assert data == MESSAGE
        assert now_s - start_s == pytest.approx(0.0088 + 0.02)
        for one in (sending, stuck, task):
            one.cancel()
        await asyncio.gather(sending, stuck, task, return_exceptions=True)

    Rig("1Gbps").run(work)


def test_a_cold_connection_pays_for_its_handshake_and_its_window():
    async def work(rig):
        device, server, task = rig.connect()
        sending = send(device, MESSAGE[:1000])
        _, now_s = await rig.receive(server, 1000)
        assert now_s == pytest.approx(0.04 + 0.02, abs=1e-5)
        await sending
        # Five rounds carry 10, 20, 40, 80 and 160 segments, and a few for what went before; a sixth the rest.
        size_bytes = 31 * INITIAL_WINDOW_BYTES + 50_000
        await asyncio.sleep(1 - rig.clock.now_s())
        sending = send(device, MESSAGE[:size_bytes])
        _, now_s = await rig.receive(server, size_bytes)
        await sending
        assert now_s - 1 == pytest.approx(5 * 0.04 + 0.02, rel=0.01)
        # By now the window is large.
        await asyncio.sleep(2 - rig.clock.now_s())
        sending = send(device, MESSAGE[:size_bytes])
        _, now_s = await rig.receive(server, size_bytes)
        await sending
        assert now_s - 2 == pytest.approx(0.02, abs=0.002)
        task.cancel()

    Rig("10Gbps", cold_start=True).run(work)


def test_a_slow_link_hides_most_of_a_small_window():
    async def work(rig):
        device, server, task = rig.connect()
        sending = send(device, MESSAGE)
        _, now_s = await rig.receive(server, len(MESSAGE))
        await sending
        assert 1.02 + 0.04 < now_s < 1.02 + 0.04 + 0.08
        task.cancel()

    Rig("8.8Mbps", cold_start=True).run(work)


def test_without_delay_nothing_is_cold():
    async def work(rig):
        device, server, task = rig.connect()
        sending = send(device, MESSAGE)
        _, now_s = await rig.receive(server, len(MESSAGE))
        await sending
        assert now_s == pytest.approx(1.0)
        task.cancel()

    Rig(rtt_s=0.0, cold_start=True).run(work)


def test_half_close_and_close():
    async def work(rig):
        loop = asyncio.get_running_loop()
        device, server, task = rig.connect()
        await send(device, b"question")
        device.shutdown(socket.SHUT_WR)
        await rig.receive(server, 8)
        start_s = rig.clock.now_s()
        assert await loop.sock_recv(server, 10) == b""
        assert rig.clock.now_s() == pytest.approx(start_s)
        await asyncio.sleep(1)
        assert not task.done()
        await send(server, b"answer")
        server.close()
        data, _ = await rig.receive(device, 6)
        assert data == b"answer"
        assert await loop.sock_recv(device, 10) == b""
        await task

    Rig().run(work)


def test_frozen_bytes_wait():
    async def work(rig):
        device, server, task = rig.connect()
        rig.moving.clear()
        await send(device, b"x" * 1100)
        receiving = asyncio.ensure_future(rig.receive(server, 1100))
        await asyncio.sleep(3)
        assert not receiving.done()
        rig.moving.set()
        _, now_s = await receiving
        assert now_s == pytest.approx(3 + 0.001 + 0.02)
        task.cancel()

    Rig().run(work)


def test_the_link_of_a_preset():
    link = EmulatedLink.of(Link.parse("wifi"), clock=VirtualClock())
    assert Bottleneck(link, "uplink", QUEUE_BYTES).portion_bytes == 2360
    assert Bottleneck(link, "uplink", 1500).portion_bytes == 1500
