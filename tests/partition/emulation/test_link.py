"""The link in process and the slow device, exact on a virtual clock; real waits only as far as that they end."""

import math
import os
import threading
import time

import pytest

from partition import Link
from partition.emulation.clock import RealClock, VirtualClock
from partition.emulation.device import SlowDevice, pinned
from partition.emulation.link import EmulatedLink
from partition.emulation.profile import RateProfile
from partition.errors import InputError


def link_of(bandwidth="8Mbps", *, rtt="40ms", **options):
    return EmulatedLink.of(Link.parse(bandwidth, rtt=rtt), clock=VirtualClock(), **options)


def test_a_message():
    link = link_of(per_message_s=0.005)
    assert link.deliver("uplink", 1_000_000) == pytest.approx(0.005 + 1 + 0.020)
    assert link.duration_s("uplink", 1_000_000, 50.0) == pytest.approx(1.025)
    assert link.deliver("uplink", 0) == pytest.approx(0.025)


def test_messages_of_a_direction_queue():
    link = link_of(per_message_s=0.5)
    assert [link.send("uplink", 1_000_000) for _ in range(3)] == pytest.approx([1.52, 3.02, 4.52])
    assert link.send("downlink", 1_000_000) == pytest.approx(1.52)
    assert link.send("uplink", 1_000_000, 10.0) == pytest.approx(11.52)
    assert link.clock.now_s() == 0


def test_the_rate_follows_the_profile():
    up = RateProfile.stepped([(0, "8Mbps"), (1, "1Mbps")], period_s=2)
    link = EmulatedLink(up, RateProfile.constant("80Mbps"), delay_s=0.1, clock=VirtualClock())
    assert link.send("uplink", 1_062_500) == pytest.approx(1.6)
    assert link.send("uplink", 62_500) == pytest.approx(2.1)
    assert [link.rate_at("uplink", time_s) for time_s in (0.5, 1.5, 2.5)] == [8e6, 1e6, 8e6]
    assert link.rate_at("downlink", 1.5) == 80e6
    link.slow(10)
    assert link.rate_at("uplink", 2.5) == 8e5
    assert link.duration_s("downlink", 1_000_000, 0.0) == pytest.approx(1.1)
    assert link.send("downlink", 1_000_000) == pytest.approx(1.1)


def test_a_call_as_if_it_were_remote():
    link = link_of()
    clock = link.clock

    def work():
        assert clock.now_s() == pytest.approx(0.12)
        clock.advance(0.3)
        return b"x" * 200_000

    assert len(link.call(work, request_bytes=100_000, reply_bytes=len)) == 200_000
    assert clock.now_s() == pytest.approx(0.12 + 0.3 + 0.22)


def test_threads_share_one_queue():
    link = link_of()
    arrivals = []
    threads = [
        threading.Thread(target=lambda: arrivals.extend(link.send("uplink", 1000) for _ in range(250)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(arrivals) == pytest.approx([0.02 + 0.001 * count for count in range(1, 1001)])


def test_real_time_waits():
    link = EmulatedLink.of(Link.parse("8Mbps", rtt="2ms"))
    assert link.deliver("uplink", 1000) >= 0.002
    clock = RealClock()
    clock.sleep_until(-1.0)
    clock.restart()
    assert clock.now_s() < 60
    assert abs(clock.start_s - time.monotonic()) < 60


def test_bad_figures():
    rate = RateProfile.constant(1e6)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="delay_s"):
            EmulatedLink(rate, rate, delay_s=wrong)
        with pytest.raises(InputError, match="per_message_s"):
            EmulatedLink(rate, rate, delay_s=0, per_message_s=wrong)
        with pytest.raises(InputError, match="factor above 0"):
            link_of().slow(wrong)
        with pytest.raises(InputError, match="cannot advance"):
            VirtualClock().advance(wrong)
        with pytest.raises(InputError, match="slowdown"):
            SlowDevice(wrong)
    with pytest.raises(InputError, match="a finite size"):
        link_of().send("uplink", -1)


def test_a_slow_device():
    clock = VirtualClock()
    device = SlowDevice(4, clock=clock)

    def work():
        clock.advance(0.25)
        return "done"

    assert [device.run(work) for _ in range(3)] == ["done"] * 3
    assert clock.now_s() == 3.0
    assert device.compute_s == 0.25


def test_a_slow_device_passes_errors_on():
    with pytest.raises(ZeroDivisionError):
        SlowDevice(clock=VirtualClock()).run(lambda: 1 / 0)


def test_a_slow_device_in_real_time():
    device = SlowDevice(8)
    start_s = time.monotonic()
    device.run(lambda: time.sleep(0.002))
    assert time.monotonic() - start_s >= 8 * 0.002


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")
def test_pinning():
    before = os.sched_getaffinity(0)
    core = min(before)
    with pinned(core) as is_pinned:
        assert is_pinned
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(InputError, match="is not one that this thread may use"), pinned(100_000):
        pass
    with pytest.raises(ZeroDivisionError), pinned(core):
        1 / 0  # noqa: B018
    assert os.sched_getaffinity(0) == before


def test_pinning_where_the_system_cannot(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pinned(0) as is_pinned:
        assert not is_pinned
