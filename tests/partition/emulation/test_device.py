"""A device that is made slower, in real and in virtual time."""

import threading
import time

import pytest

from partition import InputError
from partition.emulation.clock import VirtualClock
from partition.emulation.device import SlowDevice


def test_multiplies_what_passed_in_virtual_time():
    clock = VirtualClock()
    device = SlowDevice(8, clock=clock)
    assert device.run(lambda: clock.advance(0.25) or "done") == "done"
    assert (clock.now_s(), device.compute_s) == (2.0, 0.25)


def test_own_time_leaves_out_what_the_thread_waited():
    clock = VirtualClock()
    device = SlowDevice(1000, clock=clock, own_time=True)
    device.run(lambda: time.sleep(0.05))
    # A thread that sleeps needs next to no processor time.
    assert device.compute_s < 0.02
    assert clock.now_s() == pytest.approx(999 * device.compute_s)


def test_own_time_leaves_out_other_threads():
    ended = threading.Event()

    def spin():
        while not ended.is_set():
            pass

    other = threading.Thread(target=spin)
    other.start()
    try:
        device = SlowDevice(1, own_time=True)
        begun_s, own_s = time.monotonic(), time.thread_time()
        device.run(lambda: sum(range(200_000)))
        assert device.compute_s <= time.thread_time() - own_s
        assert device.compute_s <= time.monotonic() - begun_s
    finally:
        ended.set()
        other.join()


@pytest.mark.parametrize("slowdown", [0.5, float("nan"), float("inf")])
def test_refuses_another_slowdown(slowdown):
    with pytest.raises(InputError, match=r"slowdown is .*, expected a finite number of 1 or more"):
        SlowDevice(slowdown)
