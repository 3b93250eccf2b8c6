"""Powers of a device: from radios, from meters, and an energy plan with each of them."""

import dataclasses
import threading
import types

import numpy as np
import pytest

import graph_io
from partition import partition
from partition.energy import measure, rapl
from partition.energy import meter as meter_module
from partition.energy.measure import PowerMeasurement, measure_energy, measure_power
from partition.energy.meter import EnergyMeter, SampledMeter
from partition.energy.radio import HUANG_2012, Radio, power_over_radio, radio_presets, with_radio
from partition.energy.rapl import RaplMeter
from partition.errors import InputError
from partition.latency.machines import Power
from partition.links import Link
from tests.models import model, node, value
from tests.partition.costs import POWER, machine, timings_of

BAD_FIGURES = [-1.0, float("nan"), float("inf"), True, "2", None]

# --- radios -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "up", "down", "base"),
    [("3g", 868.98, 122.12, 817.88), ("4g", 438.39, 51.97, 1288.04), ("wifi", 283.17, 137.01, 132.86)],
)
def test_presets_are_the_published_figures(name, up, down, base):
    radio = Radio.parse(name)
    for bits_per_s in (1e3, 1e6, 8.8e6, 5.4e7):
        assert radio.watts_up(bits_per_s) == pytest.approx((up * bits_per_s / 1e6 + base) / 1000, rel=1e-14)
        assert radio.watts_down(bits_per_s) == pytest.approx((down * bits_per_s / 1e6 + base) / 1000, rel=1e-14)
    assert radio.watts_up("1Mbps") == pytest.approx((up + base) / 1000)
    assert radio.source == HUANG_2012
    assert str(radio) == f"{name}: {up} mW per Mbit/s up, {down} mW per Mbit/s down, base {base} mW"


def test_parsing_a_radio():
    assert radio_presets() == ("3g", "4g", "wifi")
    assert Radio.parse(" Wi-Fi ") == Radio.parse("wifi")
    assert Radio.parse("LTE") == Radio.parse("4g")
    own = Radio("dongle", 0.1, 0.05, 0.3, "measured on a bench")
    assert Radio.parse(own) is own
    for wrong in ("5g", "", None, 4):
        with pytest.raises(InputError, match=r"radio .* is unknown; use '3g', '4g', 'wifi', or a Radio with your own"):
            Radio.parse(wrong)


@pytest.mark.parametrize("field", ["uplink_watts_per_mbit_per_s", "downlink_watts_per_mbit_per_s", "base_watts"])
@pytest.mark.parametrize("wrong", BAD_FIGURES)
def test_a_radio_checks_its_figures(field, wrong):
    with pytest.raises(InputError, match=rf"radio 'wifi': {field} is .*, expected a finite number of watts, 0 or more"):
        dataclasses.replace(Radio.parse("wifi"), **{field: wrong})


def test_a_radio_checks_the_rest():
    for field in ("name", "source"):
        with pytest.raises(InputError, match=f"radio: {field} is ' ', expected a text"):
            dataclasses.replace(Radio.parse("wifi"), **{field: " "})
    with pytest.raises(InputError, match="the uplink's rate 0 is not a finite rate above 0"):
        Radio.parse("wifi").watts_up(0)
    with pytest.raises(InputError, match="the downlink's rate '8' has no unit"):
        Radio.parse("wifi").watts_down("8")
    with pytest.raises(InputError, match="draws inf W"):
        Radio("huge", 1e308, 0, 0, "a test").watts_up(1e9)


def test_power_over_a_radio_by_hand():
    link = Link(uplink_bits_per_s=2e6, downlink_bits_per_s=10e6, rtt_s=0.1)
    power = power_over_radio("4g", link, compute_watts=6, idle_watts=2.5)
    assert power == Power(
        compute_watts=6.0,
        idle_watts=2.5,
        send_watts=pytest.approx(2.5 + 2 * 0.43839 + 1.28804),
        receive_watts=pytest.approx(2.5 + 10 * 0.05197 + 1.28804),
    )
    known = dataclasses.replace(power, send_watts=99.0, receive_watts=99.0)
    assert with_radio(known, "4g", link) == power
    assert power_over_radio("4g", "4g", compute_watts=6, idle_watts=0).send_watts == Radio.parse("4g").watts_up(8.8e6)
    note = Radio.parse("4g").note(link)
    assert note.startswith(
        "radio 4g: 2.165 W above idle while sending at 2 Mbit/s, 1.808 W while receiving at 10 Mbit/s"
    )


@pytest.mark.parametrize("wrong", BAD_FIGURES)
def test_powers_are_checked(wrong):
    with pytest.raises(InputError, match=r"compute_watts is .*, expected a finite number of watts above 0"):
        power_over_radio("wifi", "wifi", compute_watts=wrong, idle_watts=1)
    with pytest.raises(InputError, match=r"idle_watts is .*, expected a finite number of watts, 0 or more"):
        power_over_radio("wifi", "wifi", compute_watts=2, idle_watts=wrong)


def test_powers_are_checked_at_zero_and_by_type():
    with pytest.raises(InputError, match="compute_watts is 0, expected"):
        power_over_radio("wifi", "wifi", compute_watts=0, idle_watts=1)
    with pytest.raises(InputError, match="power is None; give a"):
        with_radio(None, "wifi", "wifi")


# --- meters -------------------------------------------------------------------------------------------------------


class FakeMeter:
    """Not a meter but a stand-in for one: what it counts follows from a made-up clock and from who is at work."""

    name = "fake"

    def __init__(self, *, idle_watts=2.0, busy_watts=6.0, step_joules=0.0, idle_wobble=0.0):
        self.now_s = 0.0
        self.exact_joules = 0.0
        self.idle_watts, self.busy_watts = idle_watts, busy_watts
        self.step_joules = step_joules
        self.idle_wobble = idle_wobble

    def joules(self):
        return self.exact_joules if not self.step_joules else self.exact_joules // self.step_joules * self.step_joules

    def perf_counter(self):
        return self.now_s

    def sleep(self, seconds):
        wobble = self.idle_wobble * (-1) ** int(self.now_s)
        self._pass(seconds, self.idle_watts + wobble)

    def work(self, seconds=0.1):
        self._pass(seconds, self.busy_watts)

    def _pass(self, seconds, watts):
        self.now_s += seconds
        self.exact_joules += seconds * watts


@pytest.fixture
def fake(monkeypatch):
    def make(**more):
        meter = FakeMeter(**more)
        monkeypatch.setattr(measure, "time", types.SimpleNamespace(perf_counter=meter.perf_counter, sleep=meter.sleep))
        return meter

    return make


def test_measuring_power(fake):
    meter = fake()
    assert isinstance(meter, EnergyMeter)
    measured = measure_power(meter, meter.work, seconds=10)
    assert measured == PowerMeasurement(
        meter="fake",
        idle_watts=pytest.approx(2.0),
        idle_spread_watts=pytest.approx(0.0, abs=1e-9),
        compute_watts=pytest.approx(6.0),
        compute_spread_watts=pytest.approx(0.0, abs=1e-9),
        idle_s=pytest.approx(10.0, rel=0.03),
        compute_s=pytest.approx(10.0, rel=0.06),
        n_runs=pytest.approx(100, abs=5),
    )
    assert measured.power(send_watts=3, receive_watts=2.5) == Power(
        measured.compute_watts, measured.idle_watts, 3.0, 2.5
    )
    assert str(measured).startswith("fake: idle 2 W (spread")
    with pytest.raises(InputError, match="send_watts is -1"):
        measured.power(send_watts=-1, receive_watts=0)


def test_spread_is_that_of_the_slices(fake):
    meter = fake()
    steady = measure_power(meter, meter.work)
    meter = fake(idle_wobble=1.0)
    unsteady = measure_power(meter, meter.work, seconds=5.0)
    assert steady.idle_spread_watts < 1e-9 < 0.5 < unsteady.idle_spread_watts
    assert unsteady.compute_spread_watts < 1e-9


def test_measuring_energy(fake):
    meter = fake()
    measured = measure_energy(meter, lambda: meter.work(0.5), seconds=5)
    assert (measured.joules, measured.joules_above_idle) == pytest.approx((3.0, 2.0))
    assert (measured.run_s, measured.idle_watts) == pytest.approx((0.5, 2.0))
    assert measured.spread_joules == pytest.approx(0, abs=1e-9)
    assert measured.n_runs == 10
    assert str(measured).startswith("fake: 3 J a run (spread")


def test_a_run_that_is_longer_than_the_window(fake):
    meter = fake()
    measured = measure_energy(meter, lambda: meter.work(60), seconds=5)
    assert measured.n_runs == measure.N_SLICES
    assert measured.joules == pytest.approx(360)


def test_a_window_too_short_for_the_counter(fake):
    meter = fake(step_joules=1.0)  # two moves a second while idle
    with pytest.raises(
        InputError, match=r"'fake' moved only \d+ times within 10.* s of idling, .* hold 50 moves; give ab"
    ):
        measure_power(meter, meter.work, seconds=10)
    meter = fake(step_joules=1.0)
    measured = measure_power(meter, meter.work, seconds=32)
    assert (measured.idle_watts, measured.compute_watts) == pytest.approx((2, 6), rel=0.02)
    assert measured.idle_spread_watts > 0  # steps that fall into one slice or the next


def test_the_length_that_is_proposed_is_enough(fake):
    for step_joules in (0.5, 1.0, 3.0):
        meter = fake(step_joules=step_joules)
        with pytest.raises(InputError) as caught:
            measure_power(meter, meter.work, seconds=11)
        seconds = float(str(caught.value).split("give about ")[1].split(" ")[0])
        meter = fake(step_joules=step_joules)
        assert measure_power(meter, meter.work, seconds=seconds).n_runs


@pytest.mark.parametrize("measuring", [measure_power, measure_energy])
def test_a_counter_that_does_not_move(fake, measuring):
    meter = fake(idle_watts=0.0)
    with pytest.raises(InputError, match=r"'fake' did not move within .* use a meter that counts finer"):
        measuring(meter, meter.work)
    meter = fake(busy_watts=0.0)
    with pytest.raises(InputError, match=r"'fake' stood still for .* s while the work ran; check that the meter"):
        measuring(meter, meter.work)


@pytest.mark.parametrize("wrong", [-5.0, float("nan"), float("-inf")])
def test_a_counter_that_falls(fake, wrong):
    meter = fake()

    def broken():
        meter.exact_joules += wrong

    with pytest.raises(InputError, match=r"went from .* to .* J; joules\(\) has to return a finite number that never"):
        measure_power(meter, broken)


def test_work_that_draws_less_than_idling(fake):
    meter = fake(idle_watts=5.0, busy_watts=4.0)
    with pytest.raises(InputError, match="saw 4 W while working and 5 W while idle; check that it measures the device"):
        measure_power(meter, meter.work)
    assert measure_energy(meter, meter.work).joules_above_idle < 0


def test_what_is_measured_is_checked(fake):
    meter = fake()
    with pytest.raises(InputError, match=r"meter is 3; give an object with a 'name' and a method 'joules'"):
        measure_power(3, meter.work)
    with pytest.raises(InputError, match="the work to measure is None; give a function"):
        measure_power(meter, None)
    for wrong in (0, *BAD_FIGURES):
        with pytest.raises(InputError, match=r"seconds is .*, expected a finite number of seconds above 0"):
            measure_energy(meter, meter.work, seconds=wrong)


def test_samples_are_joined_by_straight_lines(monkeypatch):
    """A ramp from 0 to 9 W, one sample a second by a made-up clock: 40.5 J, exactly."""
    clock = types.SimpleNamespace(now_s=0.0)
    done, go = threading.Event(), threading.Event()

    def watts():
        sample = clock.now_s
        if sample == 10:
            done.set()
            go.wait(60)
        return sample

    def monotonic():
        return clock.now_s

    monkeypatch.setattr(meter_module, "time", types.SimpleNamespace(monotonic=monotonic))
    sampled = SampledMeter(watts, name="ramp", interval_s=1.0)

    def wait(seconds):
        clock.now_s += seconds

    monkeypatch.setattr(sampled._stop, "wait", wait)
    with sampled:
        assert done.wait(60)
        assert sampled.joules() == 40.5
        assert sampled.n_samples == 10
        sampled._stop.set()
        go.set()


def test_a_sampled_meter_runs_and_ends():
    seen = threading.Event()
    calls = []

    def watts():
        calls.append(threading.get_ident())
        if len(calls) > 3:
            seen.set()
        return 5.0

    meter = SampledMeter(watts, name="steady", interval_s=0.001)
    assert repr(meter) == "<SampledMeter 'steady', every 0.001 s>"
    assert isinstance(meter, EnergyMeter)
    with pytest.raises(InputError, match="'steady' is not running; read it inside of 'with meter:'"):
        meter.joules()
    with meter:
        assert seen.wait(60)
        first = meter.joules()
        assert 0 < first <= meter.joules()
    assert len(set(calls)) == 1
    assert threading.get_ident() not in calls
    n_calls = len(calls)
    with pytest.raises(InputError, match="not running"):
        meter.joules()
    with pytest.raises(InputError, match="'steady' was started before; make a new SampledMeter"), meter:
        pass
    assert len(calls) == n_calls


@pytest.mark.parametrize(
    ("watts", "message"),
    [
        (lambda: 1 / 0, "'plug' failed after 0 samples: division by zero; correct the function that returns watts"),
        (
            lambda: -1.0,
            "failed after 0 samples: what it returned is -1.0, expected a finite number of watts, 0 or more",
        ),
        (lambda: float("nan"), "what it returned is nan"),
        (lambda: None, "what it returned is None"),
    ],
)
def test_a_failing_function_is_told(watts, message):
    with SampledMeter(watts, name="plug", interval_s=0.001) as meter:
        meter._thread.join(60)
        with pytest.raises(InputError, match=message):
            meter.joules()


def test_a_sampled_meter_checks_its_arguments():
    with pytest.raises(InputError, match=r"watts is 5.0; give a function"):
        SampledMeter(5.0, name="x")
    with pytest.raises(InputError, match="name is ''"):
        SampledMeter(lambda: 1.0, name="")
    for wrong in (0, *BAD_FIGURES):
        with pytest.raises(InputError, match=r"interval_s is .*, expected a finite number of seconds above 0"):
            SampledMeter(lambda: 1.0, name="x", interval_s=wrong)


# --- plans --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_layers():
    """x (1, 100) -> Tanh -> t -> Slice to 10 -> y: 400 bytes, 400 bytes, 40 bytes."""
    nodes = [node("Tanh", "x", "t", "first"), node("Slice", "t starts ends axes", "y", "second")]
    weights = {"starts": np.array([0]), "ends": np.array([10]), "axes": np.array([1])}
    return graph_io.load_graph(model(nodes, {"x": (1, 100)}, [value("y", [1, 10])], weights), granularity="node")


LINK = Link(uplink_bits_per_s=2e6, downlink_bits_per_s=1e6, rtt_s=0.2)
SERVER_S = {"first": 0.02, "second": 0.03}


def joules_of_sending_all(power):
    """By hand: 400 bytes up, 50 ms on the server, 40 bytes down, half a round trip each way."""
    up_s, down_s = 400 * 8 / 2e6, 40 * 8 / 1e6
    return power.send_watts * up_s + power.idle_watts * (0.05 + 0.2) + power.receive_watts * down_s


def plan_of(graph, power, **more):
    device = machine(memory_bytes_per_s=1000.0, layer_overhead_s=0.01, power=power)
    return partition(graph, LINK, device=device, server=timings_of(graph, SERVER_S), objective="energy", **more)


@pytest.mark.parametrize("name", radio_presets())
def test_a_plan_with_a_radio(two_layers, name):
    power = with_radio(POWER, name, LINK)
    assert power.send_watts == pytest.approx(POWER.idle_watts + Radio.parse(name).watts_up(2e6))
    plan = plan_of(two_layers, power)
    assert plan.value == pytest.approx(joules_of_sending_all(power), rel=1e-12)
    assert not plan.layers_on_device
    assert plan.optimal


def test_a_radio_decides_where_the_cut_is(two_layers):
    """Sending 400 bytes costs little by the thrifty radio, and more than computing by the other."""
    hungry = Radio("hungry", 0.0, 0.0, 3000.0, "made up")
    assert not plan_of(two_layers, with_radio(POWER, "wifi", LINK)).layers_on_device
    assert len(plan_of(two_layers, with_radio(POWER, hungry, LINK)).layers_on_device) == 2


def test_a_plan_with_a_meter(two_layers, fake, tmp_path):
    meter = fake(idle_watts=0.5, busy_watts=4.0)
    power = measure_power(meter, meter.work).power(send_watts=2.0, receive_watts=1.0)
    assert dataclasses.astuple(power) == pytest.approx(dataclasses.astuple(POWER))
    assert plan_of(two_layers, power, cut=["x"]).value == pytest.approx(joules_of_sending_all(POWER))
    # And by way of a file, as a user keeps it.
    device = machine(power=power)
    device.save(tmp_path / "device.json")
    plan = partition(two_layers, LINK, device=tmp_path / "device.json", objective="energy")
    assert plan.value == partition(two_layers, LINK, device=device, objective="energy").value


def test_a_plan_with_rapl(two_layers, fake, tmp_path, monkeypatch):
    """The counter is a recorded file that goes on with the clock of the stand-in."""
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, content in {"name": "package-0", "max_energy_range_uj": 262143328850, "energy_uj": 262143000000}.items():
        (zone / name).write_text(f"{content}\n")
    counter = fake(idle_watts=0.5, busy_watts=4.0)
    monkeypatch.setattr(rapl, "time", types.SimpleNamespace(monotonic=counter.perf_counter))

    def going_on(path):
        if path.name == "energy_uj":
            return (262143000000 + round(counter.exact_joules * 1e6)) % 262143328850
        return int(path.read_text())

    monkeypatch.setattr(rapl, "_read_count", going_on)
    measured = measure_power(RaplMeter(tmp_path), counter.work)
    assert measured.meter == "RAPL (package-0)"
    power = power_over_radio("wifi", LINK, compute_watts=measured.compute_watts, idle_watts=measured.idle_watts)
    assert power.compute_watts == pytest.approx(4.0)
    assert plan_of(two_layers, power).value == pytest.approx(joules_of_sending_all(power))


# --- a radio by its name ------------------------------------------------------------------------------------------


def test_a_plan_with_a_radio_by_its_name(two_layers):
    device = machine(power=POWER)
    named = partition(two_layers, LINK, device=device, objective="energy", radio="4g", cut=["x"])
    by_hand = dataclasses.replace(device, power=with_radio(POWER, "4g", LINK))
    assert named.value == partition(two_layers, LINK, device=by_hand, objective="energy", cut=["x"]).value
    assert named.value != partition(two_layers, LINK, device=device, objective="energy", cut=["x"]).value
    assert any("4g" in one and "radio" in one.lower() for one in named.assumptions)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"radio": "wifi"}, "which only objective 'energy' uses"),
        ({"radio": "5g", "objective": "energy"}, "5g"),
        ({"radio": 3, "objective": "energy"}, "3"),
    ],
)
def test_radios_that_cannot_be(two_layers, arguments, said):
    with pytest.raises(InputError, match=said):
        partition(two_layers, LINK, device=machine(power=POWER), **arguments)
