"""The live router: two and three of them in one process, on clocks that disagree, with neighbours that vanish."""

import math
import subprocess
import sys

import pytest

from partition.errors import InputError
from partition.routing.length_models import LengthModel
from partition.routing.network import MachineNetwork, RoutedLink, RoutedMachine
from partition.routing.router import Router

SIZES = LengthModel((20.0, 4.0, 0.0), 1, 80)


def line(fixed, per_word):
    return LengthModel((fixed, per_word, 0.0), 1, 80)


def network(rtt_s=0.1):
    machines = (
        RoutedMachine("end", line(0.0, 0.02)),
        RoutedMachine("gateway", line(0.0, 0.01)),
        RoutedMachine("cloud", line(0.0, 0.001)),
    )
    links = tuple(
        RoutedLink(one, other, 8e6, delay_s)
        for pair, delay_s in ((("end", "gateway"), 0.01), (("gateway", "cloud"), rtt_s / 2))
        for one, other in (pair, pair[::-1])
    )
    return MachineNetwork(machines, links, "end", SIZES, SIZES)


class Clock:
    def __init__(self, start=0.0):
        self.now = start

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_it_decides(clock):
    router = Router(network(), "end", clock=clock)
    assert router.decide(1).action == "keep"
    decision = router.decide(5)
    assert (decision.action, decision.neighbour, decision.destination, decision.bound) == (
        "send",
        "gateway",
        "gateway",
        False,
    )
    assert decision.expected_s == pytest.approx(0.02 + 2 * 40e-6 + 0.05)
    assert router.decide(50).destination == "cloud"
    assert router.decide(50, visited=["gateway"]).action == "keep"
    assert not router.decide(80).extrapolated
    assert router.decide(81).extrapolated


def test_an_exchange_teaches_round_trip_and_what_is_behind(clock):
    far = Clock(1e6)
    net = network()
    end, gateway = Router(net, "end", clock=clock), Router(net, "gateway", clock=far)
    assert end.rtt_s("gateway") == 0.02
    assert end.rtt_s("cloud") is None
    # The gateway finds the cloud far away.
    out = gateway.sent(gateway.decide(50, visited=["end"]), 50)
    far.now += 1.0 + 0.05
    gateway.answered(out, 0.05, Router(net, "cloud", clock=Clock(-7.0)).offer_to("gateway"))
    assert gateway.rtt_s("cloud") == pytest.approx(0.1 + 0.8 * 0.9, rel=0.01)
    # The end node hears of it with the next answer, whatever the gateway's clock shows.
    assert end.decide(20).destination == "cloud"
    sent = end.sent(end.decide(20), 20)
    clock.now += 0.3
    end.answered(sent, 0.2, gateway.offer_to("end"))
    assert end.rtt_s("gateway") == pytest.approx(0.1, rel=0.2)
    assert end.decide(20).destination == "gateway"


def test_runs_refit_its_own_machine(clock):
    router = Router(network(), "end", clock=clock)
    for _ in range(50):
        for length in (5, 20, 60):
            expected_s = router.run_queued(length)
            clock.now += 0.04 * length
            router.run_ended(length, expected_s, 0.04 * length)
    assert router.coefficients[1] == pytest.approx(0.04, rel=0.02)
    before = router.coefficients
    router.run_ended(5, router.run_queued(5), None)
    assert router.coefficients == before


def test_what_is_queued_counts(clock):
    router = Router(network(), "end", clock=clock)
    expected_s = router.run_queued(10)
    assert expected_s == pytest.approx(0.2)
    assert router.decide(1).action == "send"
    clock.now += 0.2
    router.run_ended(10, expected_s, 0.2)
    assert router.decide(1).action == "keep"


def test_a_neighbour_that_vanishes_and_comes_back(clock):
    net = network()
    router, peer = Router(net, "end", clock=clock), Router(net, "gateway", clock=Clock(5.0))
    sent = router.sent(router.decide(5), 5)
    assert sent.time_limit_s == pytest.approx(1 + 4 * (0.02 + 2 * 40e-6 + 0.05))
    clock.now += sent.time_limit_s
    router.timed_out(sent)
    assert router.rtt_s("gateway") is None
    assert router.decide(5).action == "keep"
    assert router.to_retry() == ()
    clock.now += 1.0
    (ping,) = router.to_retry()
    assert (ping.action, ping.neighbour) == ("ping", "gateway")
    assert router.to_retry() == ()
    lost = router.sent(ping, 5)
    clock.now += 0.5
    router.answered(lost, 0.48, peer.offer_to("end"))
    assert router.decide(5).action == "send"
    # A late answer says the same.
    late = router.sent(router.decide(5), 5)
    router.timed_out(late)
    router.heard("gateway", peer.offer_to("end"))
    assert router.decide(5).action == "send"


def test_what_nobody_waits_for_is_forgotten(clock):
    router = Router(network(), "end", clock=clock)
    decision = router.decide(5)
    sent = [router.sent(decision, 5) for _ in range(8)]
    assert router.decide(5).action == "keep"
    for one in sent:
        router.forget(one)
    assert router.decide(5).action == "send"


def test_old_news_are_asked_for(clock):
    net = network(rtt_s=0.4)
    by_input, by_ping = (Router(net, "gateway", clock=clock, by_pings=pings) for pings in (False, True))
    assert by_input.decide(30, visited=["end"]).action == "keep"
    clock.now = 61.0
    decision = by_ping.decide(30, visited=["end"])
    assert (decision.action, decision.destination) == ("ping", "cloud")
    assert by_ping.decide(30, visited=["end"], pinged=True).action == "keep"
    decision = by_input.decide(30, visited=["end"])
    assert (decision.action, decision.destination, decision.bound) == ("probe", "cloud", True)
    # A machine on the way passes it on, and the last one keeps it.
    end = Router(net, "end", clock=clock)
    onward = end.onward("cloud", 30)
    assert (onward.action, onward.neighbour, onward.bound) == ("send", "gateway", True)
    assert end.onward("cloud", 30, ping=True).action == "ping"
    assert end.onward("cloud", 30, visited=["gateway"]).action == "keep"
    assert Router(net, "cloud", clock=clock).onward("cloud", 30).action == "keep"
    never = Router(net, "gateway", clock=clock, stale_s=math.inf)
    clock.now = 1e9
    assert never.decide(30, visited=["end"]).action == "keep"


def test_only_the_end_node_counts_energy(clock):
    with pytest.raises(InputError, match="power of the end node"):
        Router(network(), "end", objective="energy", clock=clock)


@pytest.mark.parametrize("length", [0, -1, 2.5, "5", None, True, math.nan])
def test_lengths_that_are_none(length, clock):
    with pytest.raises(InputError, match="length"):
        Router(network(), "end", clock=clock).decide(length)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda router, sent, offer: Router(network(), "moon"), "'moon'"),
        (lambda router, sent, offer: Router(network(), "end", stale_s=0), "stale_s"),
        (lambda router, sent, offer: Router(network(), "end", objective="money"), "objective"),
        (lambda router, sent, offer: router.decide(5, visited=["moon"]), "'moon'"),
        (lambda router, sent, offer: router.offer_to("moon"), "'moon'"),
        (lambda router, sent, offer: router.run_ended(5, 0.1, -1.0), "taken_s is -1.0"),
        (lambda router, sent, offer: router.run_ended(5, 0.1, math.nan), "taken_s is nan"),
        (lambda router, sent, offer: router.run_ended(5, math.inf, 0.1), "expected_s is inf"),
        (lambda router, sent, offer: router.answered(sent, -0.1, offer), "spent_s is -0.1"),
        (lambda router, sent, offer: router.answered(sent, 0.1, offer[:-1]), "26 numbers"),
        (lambda router, sent, offer: router.answered(sent, 0.1, [math.nan, *offer[1:]]), "finite"),
        (lambda router, sent, offer: router.answered(sent, 0.1, ["a", *offer[1:]]), "not a list of numbers"),
        (lambda router, sent, offer: router.answered(sent, 0.1, 5), "not a list of numbers"),
        # A way that leads back here, one that is no whole number, a delay below 0.
        (lambda router, sent, offer: router.answered(sent, 0.1, [7.0, *offer[1:]]), "is none"),
        (lambda router, sent, offer: router.answered(sent, 0.1, [*offer[:9], 2.5, *offer[10:]]), "is none"),
        (lambda router, sent, offer: router.answered(sent, 0.1, [*offer[:10], -1.0, *offer[11:]]), "is none"),
        (lambda router, sent, offer: router.heard("cloud", offer), "no link to 'cloud'"),
    ],
)
def test_what_cannot_be_used_is_refused_and_teaches_nothing(act, message, clock):
    router = Router(network(), "end", clock=clock)
    offer = list(Router(network(), "gateway", clock=clock).offer_to("end"))
    sent = router.sent(router.decide(5), 5)
    before = repr((router._own, router._links, router._adverts, router._pending))
    with pytest.raises(InputError, match=message):
        act(router, sent, offer)
    assert repr((router._own, router._links, router._adverts, router._pending)) == before


def test_it_loads_no_compiler():
    code = "import sys, partition.routing.router; assert not {'numba', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
