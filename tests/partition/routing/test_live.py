"""Routers on machines that run: against the simulation in virtual time, with real sessions, servers and faults."""

import threading
import time

import numpy as np
import onnx
import pytest

from partition import partition
from partition.emulation.clock import RealClock, VirtualClock
from partition.emulation.link import EmulatedLink
from partition.emulation.profile import RateProfile
from partition.errors import InputError
from partition.remote.errors import Refused
from partition.routing.length_models import LengthModel
from partition.routing.live import RoutedSession, constant_link, open_routed
from partition.routing.network import MachineNetwork, RoutedLink, RoutedMachine
from partition.routing.profiles import LinkProfile, round_trips
from partition.routing.router import Router
from partition.routing.server_hop import ServerHop
from partition.routing.simulator import simulate
from partition.saved import load_plan
from partition.serve import Server
from tests.partition.routing.length_files import lstm_net
from tests.partition.routing.test_simulator import drawn_run_s, four, two, words

AXES = {"words": (0,)}


def given(length):
    """Return an input of 20 + 4 N bytes, as the networks of these tests say."""
    return {"words": np.full(length, 1.5, np.float32), "about": np.zeros(5, np.float32)}


class Virtual:
    """A session in virtual time, whose machines take the very times that a simulation draws."""

    def __init__(self, network, lengths, seed, *, links=None, **options):
        self.clock = VirtualClock()
        self.number = 0
        self.lengths = lengths
        run_s = drawn_run_s(network, lengths, seed)
        runners = {name: self.runner(run_s[place]) for place, name in enumerate(network.names)}
        made = {ends: link(self.clock) for ends, link in (links or {}).items()}
        self.session = RoutedSession(network, runners, AXES, clock=self.clock, links=made, in_threads=False, **options)

    def runner(self, times_s):
        def run(inputs):
            self.clock.advance(float(times_s[self.number]))
            return {**inputs}

        return run

    def runs(self, before=lambda session, number: None):
        found = []
        for number, length in enumerate(self.lengths):
            self.number = number
            before(self.session, number)
            self.session.run(given(int(length)))
            found.append(self.session.last)
        return found


def same(network, found, simulation):
    assert [one.machine for one in found] == [simulation.machines[place] for place in simulation.machine]
    assert np.array([one.taken_s for one in found]) == pytest.approx(simulation.taken_s, rel=1e-9, abs=1e-9)
    assert np.array([one.expected_s for one in found]) == pytest.approx(simulation.predicted_s, rel=1e-9, abs=1e-9)
    # The simulation counts those of the machines further on, too.
    pings = sum(one.pings for one in found)
    assert pings == simulation.pings if len(network.machines) == 2 else 0 <= pings <= simulation.pings
    assert sum(one.action == "probe" for one in found) <= simulation.probes


@pytest.mark.parametrize("objective", ["time", "energy", 0.3])
def test_two_machines_do_what_the_simulation_does(objective):
    network, lengths = two(noise=0.04), words(400, seed=3)
    virtual = Virtual(network, lengths, 7, objective=objective, stale_s=4.0)
    simulation = simulate(network, lengths, seed=7, objective=objective, stale_s=4.0)
    same(network, virtual.runs(), simulation)
    assert 0 < simulation.shares["cloud"] < 1


def test_several_hops_do_what_the_simulation_does():
    network, lengths = four(noise=0.04), words(300, seed=4)
    found = Virtual(network, lengths, 5, stale_s=3.0).runs()
    same(network, found, simulate(network, lengths, seed=5, stale_s=3.0))
    assert any(len(one.route) == 3 for one in found)
    assert all(one.route[0] == "end" for one in found)


def test_a_stepping_round_trip_and_clocks_that_disagree():
    network, lengths = two(noise=0.03), words(300, seed=5)
    rtts = [0.05, 0.9, 0.05]

    def step(session, number):
        session.links["end", "cloud"].delay_s = rtts[int(len(rtts) * number / len(lengths))] / 2

    clocks_s = {"end": 5.0, "cloud": -1234.5}
    virtual = Virtual(network, lengths, 2, stale_s=2.0, clocks_s=clocks_s)
    simulation = simulate(network, lengths, seed=2, stale_s=2.0, links=round_trips(network, "end", "cloud", rtts))
    same(network, virtual.runs(step), simulation)
    assert simulation.pings + simulation.probes > 0


def test_pings_over_two_hops():
    network, lengths = four(noise=0.04), words(200, seed=8)
    rtts = [0.03, 0.9, 0.03]

    def step(session, number):
        session.links["end", "gateway"].delay_s = rtts[int(len(rtts) * number / len(lengths))] / 2

    links = round_trips(network, "end", "gateway", rtts)
    simulation = simulate(network, lengths, policy="routed-with-pings", seed=2, stale_s=1.0, links=links)
    found = Virtual(network, lengths, 2, stale_s=1.0, by_pings=True).runs(step)
    same(network, found, simulation)
    assert sum(one.pings for one in found) > 0


def test_a_recorded_rate():
    network, lengths = two(noise=0.03), words(300, seed=6)
    up = RateProfile((0.0, 3.0, 5.0), (2e5, 2e3, 1e5), 8.0)
    down = RateProfile.constant(1e6)
    found = Virtual(
        network,
        lengths,
        2,
        links={("end", "cloud"): lambda clock: EmulatedLink(up, down, delay_s=0.1, clock=clock)},
    ).runs()
    links = {("end", "cloud"): LinkProfile.recorded(up, 0.1), ("cloud", "end"): LinkProfile.constant(1e6, 0.1)}
    same(network, found, simulate(network, lengths, seed=2, links=links))


def test_a_machine_that_vanishes_loses_no_input():
    network, lengths = two(rtt_s=0.01), np.full(60, 20)
    virtual = Virtual(network, lengths, 1)

    def come_and_go(session, number):
        cloud = session.machines["cloud"]
        if number == 20:
            cloud.vanish()
        if number == 40:
            cloud.come_back()

    found = virtual.runs(come_and_go)
    assert {one.machine for one in found[:20]} == {"cloud"}
    assert {one.machine for one in found[20:40]} == {"end"}
    assert [bool(one.faults) for one in found[20:40]] == [True] + 19 * [False]
    assert "no answer within" in found[20].faults[0]
    assert found[-1].machine == "cloud"
    assert virtual.session.machines["end"].router.rtt_s("cloud") is not None


def test_work_that_was_lost_stays_lost():
    """A machine that is gone for a moment, while an input is on it, does not answer it afterwards."""
    network = two(rtt_s=0.01)
    clock = VirtualClock()
    calls = []

    def cloud(inputs):
        calls.append(len(inputs["words"]))
        clock.advance(0.02)
        if len(calls) == 1:
            session.machines["cloud"].vanish()
            session.machines["cloud"].come_back()
        return dict(inputs)

    def end(inputs):
        clock.advance(0.4)
        return dict(inputs)

    session = RoutedSession(network, {"end": end, "cloud": cloud}, AXES, clock=clock, in_threads=False)
    session.run(given(20))
    assert session.last.machine == "end"
    assert session.last.faults
    assert calls == [20]


def test_what_is_learnt_of_a_machine_that_became_slow():
    """The end node takes three times as long from now on: its curve follows, and more inputs go away."""
    network, lengths = two(rtt_s=1.0), words(400, seed=1)
    virtual = Virtual(network, lengths, 0)
    machine = virtual.session.machines["end"]
    plain = machine._runner

    def slower(inputs):
        before = virtual.clock.now_s()
        outputs = plain(inputs)
        virtual.clock.advance(2 * (virtual.clock.now_s() - before))
        return outputs

    machine._runner = slower
    found = virtual.runs()
    a, b, _ = machine.router.coefficients
    assert a + 11 * b == pytest.approx(3 * (0.002 + 11 * 0.019), rel=0.05)
    assert {one.machine for one in found[200:]} == {"end", "cloud"}


def test_threads_real_time_and_real_sessions():
    """Three machines, two hops, several inputs at once: every result is the model's own."""
    proto = lstm_net(features=6, hidden=16)
    curve = LengthModel((1e-4, 1e-5, 0.0), 1, 64)
    sizes, results = LengthModel((0.0, 24.0, 0.0), 1, 64), LengthModel((0.0, 4.0, 0.0), 1, 64)
    network = MachineNetwork(
        (
            RoutedMachine("end", curve, slowdown=30.0),
            RoutedMachine("gate", curve, slowdown=20.0),
            RoutedMachine("cloud", curve),
        ),
        (
            *(RoutedLink(*ends, 1e8, 2e-4) for ends in (("end", "gate"), ("gate", "end"))),
            *(RoutedLink(*ends, 1e8, 2e-4) for ends in (("gate", "cloud"), ("cloud", "gate"))),
        ),
        "end",
        sizes,
        results,
    )
    import onnxruntime

    plain = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    wrong, routes = [], set()

    with open_routed(network, proto) as session:

        def work(seed, count):
            own = np.random.default_rng(seed)
            for _ in range(count):
                x = own.standard_normal((int(own.integers(1, 60)), 1, 6)).astype(np.float32)
                if not np.array_equal(session.run({"words": x})["score"], plain.run(None, {"words": x})[0]):
                    wrong.append(x)
                routes.add(session.last.route)

        threads = [threading.Thread(target=work, args=(seed, 15)) for seed in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert wrong == []
        assert any(route[-1] == "cloud" and len(route) == 3 for route in routes)
        x = generator.standard_normal((70, 1, 6)).astype(np.float32)
        session.run({"words": x})
        assert session.last.extrapolated
        with pytest.raises(InputError, match="length 0"):
            session.run({"words": np.zeros((0, 1, 6), np.float32)})
        with pytest.raises(InputError, match="float64"):
            session.run({"words": np.zeros((3, 1, 6))})
        assert session.machines["end"].router.rtt_s("gate") is not None
    with pytest.raises(InputError, match="closed"):
        session.run({"words": x})


def test_a_time_limit_ends_the_wait_and_late_news_count():
    network = two(rtt_s=0.001)
    release = threading.Event()

    def cloud(inputs):
        release.wait(10)
        return dict(inputs)

    clock = RealClock()
    with RoutedSession(network, {"end": dict, "cloud": cloud}, AXES, clock=clock) as session:
        before = time.monotonic()
        outputs = session.run(given(60))
        assert time.monotonic() - before < 8
        assert session.last.machine == "end"
        assert outputs["words"].shape == (60,)
        router = session.machines["end"].router
        assert router.rtt_s("cloud") is None
        release.set()
        wait_for(lambda: router.rtt_s("cloud") is not None)


def test_a_machine_that_fails_is_left_out():
    def broken(inputs):
        raise InputError("no more memory")

    with RoutedSession(two(rtt_s=0.001), {"end": dict, "cloud": broken}, AXES) as session:
        session.run(given(60))
        assert session.last.machine == "end"
        assert "no more memory" in session.last.faults[0]


def test_nothing_to_go_to():
    curve = LengthModel((0.001, 0.0, 0.0), 1, 64)
    machines = (RoutedMachine("end", curve), RoutedMachine("island", curve))
    network = MachineNetwork(machines, (), "end", curve, curve)
    with RoutedSession(network, {"end": dict, "island": dict}, AXES) as session:
        session.run(given(3))
        assert session.last.route == ("end",)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return a model with an open length, and folders where all of it is on the server."""
    home = tmp_path_factory.mktemp("whole")
    proto = lstm_net(features=6, hidden=64)
    onnx.save(proto, home / "net.onnx")
    partition(home / "net.onnx", "wifi", dims={"seq": 16}, cut=["words"]).save(home / "plan")
    partition(home / "net.onnx", "wifi", dims={"seq": 16}, cut=["joined0"]).save(home / "cut")
    return home


def direct(slowdown=40.0):
    curve = LengthModel((1e-4, 1e-5, 0.0), 1, 64)
    sizes, results = LengthModel((0.0, 24.0, 0.0), 1, 64), LengthModel((0.0, 4.0, 0.0), 1, 64)
    return MachineNetwork(
        (RoutedMachine("end", curve, slowdown=slowdown), RoutedMachine("cloud", curve)),
        (RoutedLink("end", "cloud", 1e9, 1e-3), RoutedLink("cloud", "end", 1e9, 1e-3)),
        "end",
        sizes,
        results,
    )


def test_a_server_is_a_machine(served):
    import onnxruntime

    plain = onnxruntime.InferenceSession(str(served / "net.onnx"), providers=["CPUExecutionProvider"])
    network, plan = direct(), load_plan(served / "plan")
    with Server([served / "plan"]) as server:
        with open_routed(network, served / "net.onnx", servers={"cloud": (plan, server.url)}) as session:
            machines = []
            for length in (64, 50, 40, 64, 30, 1):
                x = np.full((length, 1, 6), 0.25, np.float32)
                assert np.array_equal(session.run({"words": x})["score"], plain.run(None, {"words": x})[0])
                machines.append(session.last.machine)
            assert machines[0] == "cloud"
            assert session.last.faults == ()
        with pytest.raises(Refused, match="no model"):
            open_routed(network, served / "net.onnx", servers={"cloud": (load_plan_of_another(served), server.url)})


def load_plan_of_another(served):
    other = lstm_net(features=6, hidden=64, seed=9)
    partition(other, "wifi", dims={"seq": 16}, cut=["words"]).save(served / "other")
    return load_plan(served / "other")


def test_a_server_that_goes_and_one_that_was_never_there(served):
    network, plan = direct(), load_plan(served / "plan")
    x = np.full((64, 1, 6), 0.25, np.float32)
    with Server([served / "plan"]) as server:
        url = server.url
        session = open_routed(network, served / "net.onnx", servers={"cloud": (plan, url)})
        session.run({"words": x})
        assert session.last.machine == "cloud"
    session.run({"words": x})
    assert session.last.machine == "end"
    assert session.last.faults
    session.close()
    with open_routed(network, served / "net.onnx", servers={"cloud": (plan, url)}) as session:
        session.run({"words": x})
        assert session.last.machine == "end"
        assert session.last.faults


def test_what_a_server_tells_is_learnt(served):
    """Compute time refits its curve; the queue time of its last answer is the wait that is expected there."""
    from partition.remote.client import Exchange
    from solvers.routing_rules import ADVERT_FIELDS, ADVERT_WAIT_S

    network = direct()
    with Server([served / "plan"]) as server:
        hop = ServerHop(load_plan(served / "plan"), server.url, network, "cloud", "end")
        for _ in range(30):
            spent_s = hop._learn(30, Exchange(0.0, 0.5, 0.1, 10, 10, 0.2, 0.3, False))
        assert spent_s == pytest.approx(0.5)
        assert hop._router.coefficients[0] + 30 * hop._router.coefficients[1] == pytest.approx(0.2, rel=0.02)
        offer = hop._offer()
        assert offer[ADVERT_FIELDS + ADVERT_WAIT_S] == 0.3
        Router(network, "end").heard("cloud", offer)
        assert hop._learn(30, Exchange(0.0, 0.5, 0.1, 10, 10, None, None, False)) <= 0.6
        hop.close()


def test_what_is_refused(served):
    network, file = direct(), served / "net.onnx"
    plan = load_plan(served / "plan")
    with pytest.raises(InputError, match="does not run all of the model"):
        open_routed(network, file, servers={"cloud": (load_plan(served / "cut"), "http://127.0.0.1:9")})
    with pytest.raises(InputError, match="end node 'end' has to be here"):
        open_routed(network, file, servers={"end": (plan, "http://127.0.0.1:9")})
    with pytest.raises(InputError, match="'nobody'"):
        open_routed(network, file, servers={"nobody": (plan, "http://127.0.0.1:9")})
    with pytest.raises(InputError, match="not in the model"):
        open_routed(network, file, "time")
    with pytest.raises(InputError, match="slowdown"):
        open_routed(direct(0.5), file)
    with pytest.raises(InputError, match="threads"):
        open_routed(network, file, threads=0)
    clock = RealClock()
    link = constant_link(*network.links, clock)
    runners = {"end": dict, "cloud": dict}
    with pytest.raises(InputError, match="another clock"):
        RoutedSession(network, runners, AXES, links={("end", "cloud"): link})
    with pytest.raises(InputError, match="no link from 'end' to 'far'"):
        RoutedSession(network, runners, AXES, links={("end", "far"): link}, clock=clock)
    with pytest.raises(InputError, match="twice"):
        RoutedSession(network, runners, AXES, links={("end", "cloud"): link, ("cloud", "end"): link}, clock=clock)
    with pytest.raises(InputError, match="'cloud' needs a runner"):
        RoutedSession(network, {"end": dict}, AXES)
    lines = four()
    with pytest.raises(InputError, match="passes nothing on"):
        open_routed(lines, file, servers={"cloud 1": (plan, "http://127.0.0.1:9")})


def wait_for(condition, limit_s=5.0):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)
