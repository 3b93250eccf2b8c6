"""Load: readings, the model and its fit, what a user may give, neighbours that start and are gone."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from partition.errors import InputError
from partition.load.calibration import (
    LoadScenario,
    LoadWorkload,
    accuracy_of,
    calibrate_load,
    default_scenarios,
)
from partition.load.model import LoadModel, LoadObservation, fit_load_model, parse_load
from partition.load.monitor import LoadMonitor
from partition.load.neighbours import neighbours
from partition.load.probe import ProbeThreads, spin
from partition.load.reading import LoadReader, LoadReading, allowed_cpus, read_load

READING = LoadReading(
    ended_s=1.7e9,
    window_s=0.2,
    processors=2,
    system_cpu_share=0.01,
    cpu_utilisation=0.5,
    others_processors=1.0,
    own_processors=0.0,
    runnable=1.0,
    free_memory_bytes=2**30,
    memory_usage=0.25,
    threads=1,
    cpu_share=0.5,
    lowest_cpu_share=0.5,
    chunk_s=80e-6,
    memory_copy_s=3e-3,
    memory_probe_bytes=2**25,
)
MODEL = LoadModel(
    threads=1,
    wait_gain=1.1,
    crowded_gain=1.8,
    head_start_s=0.003,
    processor_gain=0.8,
    memory_gain=0.6,
    idle_chunk_s=60e-6,
    idle_memory_copy_s=2e-3,
    memory_probe_bytes=2**25,
)
IDLE = dataclasses.replace(READING, cpu_share=1.0, lowest_cpu_share=1.0, chunk_s=60e-6, memory_copy_s=2e-3)


def running(pid):
    """Return whether a process is there and not a zombie."""
    psutil = pytest.importorskip("psutil")
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone_within(pid, timeout_s=20.0):
    end_s = time.monotonic() + timeout_s
    while running(pid):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True


class TestReading:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_real_reading_is_sane(self, threads):
        before_s = time.time()
        reading = read_load(0.05, threads, memory_probe_bytes=1 << 20)
        assert before_s <= reading.ended_s <= time.time()
        assert reading.window_s >= 0.05
        assert reading.processors == len(allowed_cpus())
        assert 0 <= reading.system_cpu_share <= 1
        assert 0 <= reading.cpu_utilisation <= 1
        assert 0 <= reading.others_processors <= reading.processors
        assert reading.own_processors >= 0
        assert reading.runnable is None or reading.runnable >= 0
        assert reading.free_memory_bytes > 0
        assert 0 < reading.memory_usage <= 1
        assert reading.threads == threads
        assert 0 < reading.lowest_cpu_share <= reading.cpu_share <= 1
        assert reading.chunk_s > 0
        assert reading.memory_copy_s > 0
        assert "CPU share" in str(reading)
        assert LoadReading.from_json(json.loads(json.dumps(reading.to_json())), "test") == reading

    def test_without_the_memory_probe(self):
        reading = read_load(0.05, memory_probe_bytes=0)
        assert reading.memory_copy_s is None
        assert LoadReading.from_json(reading.to_json(), "test") == reading

    def test_a_stopped_reading_is_none(self):
        with LoadReader(memory_probe_bytes=0) as reader:
            assert reader.read_unless(lambda: True, 0.05) is None
            assert reader.read(0.05).threads == 1

    @pytest.mark.parametrize("window_s", [0, -1, 0.01, 61, float("nan"), True, "0.1"])
    def test_a_window_out_of_range(self, window_s):
        with pytest.raises(InputError, match="window"):
            read_load(window_s)

    @pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
    def test_threads_out_of_range(self, threads):
        with pytest.raises(InputError, match="threads"):
            read_load(0.05, threads)

    @pytest.mark.parametrize("size", [-1, 1.5, True])
    def test_a_memory_probe_out_of_range(self, size):
        with pytest.raises(InputError, match="memory_probe_bytes"):
            read_load(0.05, memory_probe_bytes=size)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("cpu_share", 0),
            ("cpu_share", 1.1),
            ("cpu_utilisation", -0.1),
            ("memory_usage", "half"),
            ("threads", 0),
            ("runnable", -1),
            ("memory_copy_s", 0),
            ("memory_copy_s", None),
            ("memory_probe_bytes", 0),
            ("free_memory_bytes", 1.5),
            ("nonsense", 1),
        ],
    )
    def test_a_field_that_cannot_be_used(self, field, value):
        with pytest.raises(InputError, match=field):
            LoadReading.from_json(READING.to_json() | {field: value}, "load of 'x'")

    def test_a_missing_field(self):
        obj = READING.to_json()
        del obj["chunk_s"]
        with pytest.raises(InputError, match=r"load of 'x'.*'chunk_s' is missing"):
            LoadReading.from_json(obj, "load of 'x'")


class TestProbe:
    def test_a_probe_has_at_most_its_wall_time(self):
        probe = spin(0.005)
        assert 0 < probe.cpu_s <= probe.wall_s
        assert probe.chunk_s > 0

    def test_threads_probe_together_and_again(self):
        with ProbeThreads(3) as probes:
            assert len(probes.spin(0.002)) == 3
            assert len(probes.spin(0.002)) == 3


class TestModel:
    def test_the_formula(self):
        x, y, share = 80 / 60 - 1, 0.5, 0.25
        busy_s = 0.05 * (1 + 0.8 * (1 - share) * x + 0.6 * share * y)
        # The reading leaves one of two processors free.
        expected_s = busy_s + 1.8 * 1.0 * (busy_s - 0.003)
        assert MODEL.wall_s(READING, 0.05, memory_share=share) == pytest.approx(expected_s)
        assert MODEL.factor(READING, idle_s=0.05, memory_share=share) == pytest.approx(expected_s / 0.05)

    def test_an_idle_machine_changes_nothing(self):
        assert MODEL.wall_s(IDLE, 0.05, memory_share=0.5) == 0.05
        assert MODEL.wall_s(0.0, 0.05) == 0.05
        assert MODEL.factor(IDLE) == 1

    def test_a_share_from_a_user(self):
        assert MODEL.wall_s(0.5, 0.05) == pytest.approx(0.05 + 1.1 * 0.047)
        assert MODEL.factor(0.75) == pytest.approx(1 + 1.1 * 3)

    def test_a_request_shorter_than_the_head_start_does_not_wait(self):
        assert MODEL.wall_s(0.9, 0.002) == 0.002

    def test_more_load_is_never_quicker(self):
        times = [MODEL.wall_s(load / 10, 0.03) for load in range(10)]
        assert times == sorted(times)

    def test_json_round_trip(self):
        assert LoadModel.from_json(json.loads(json.dumps(MODEL.to_json())), "test") == MODEL
        bare = dataclasses.replace(MODEL, idle_memory_copy_s=None, memory_probe_bytes=0)
        assert LoadModel.from_json(bare.to_json(), "test") == bare

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("wait_gain", -1),
            ("crowded_gain", "1"),
            ("threads", 0),
            ("idle_chunk_s", 0),
            ("idle_memory_copy_s", None),
            ("head_start_s", "x"),
            ("extra", 1),
        ],
    )
    def test_a_field_that_cannot_be_used(self, field, value):
        with pytest.raises(InputError, match="memory_probe_bytes" if value is None else field):
            LoadModel.from_json(MODEL.to_json() | {field: value}, "machine file 'x'")

    def test_readings_that_do_not_fit(self):
        with pytest.raises(InputError, match="with 2 threads"):
            MODEL.wall_s(dataclasses.replace(READING, threads=2), 0.05)
        with pytest.raises(InputError, match="memory probe of 16 bytes"):
            MODEL.wall_s(dataclasses.replace(READING, memory_probe_bytes=16), 0.05)
        without = dataclasses.replace(READING, memory_copy_s=None, memory_probe_bytes=0)
        assert MODEL.wall_s(without, 0.05) > 0.05
        with pytest.raises(InputError, match="without a memory probe"):
            MODEL.wall_s(without, 0.05, memory_share=0.1)

    @pytest.mark.parametrize(
        ("load", "idle_s", "share", "what"),
        [
            (1.0, 0.05, 0.0, "load"),
            (-0.1, 0.05, 0.0, "load"),
            (True, 0.05, 0.0, "load"),
            ("now", 0.05, 0.0, "load"),
            (0.1, -1.0, 0.0, "request"),
            (0.1, float("inf"), 0.0, "request"),
            (0.1, 0.05, 1.5, "memory_share"),
        ],
    )
    def test_values_out_of_range(self, load, idle_s, share, what):
        with pytest.raises(InputError, match=what):
            MODEL.wall_s(load, idle_s, memory_share=share)


class TestFit:
    def rows(self, truth):
        for share, others in ((1.0, 0.0), (0.5, 1.0), (0.33, 2.0), (0.25, 1.5)):
            for chunk_s in (60e-6, 75e-6):
                for copy_s in (2e-3, 3e-3):
                    for idle_s in (0.006, 0.03, 0.09):
                        for memory in (0.0, 0.5, 1.0):
                            reading = dataclasses.replace(
                                READING,
                                threads=truth.threads,
                                cpu_share=share,
                                lowest_cpu_share=share,
                                others_processors=others,
                                chunk_s=chunk_s,
                                memory_copy_s=copy_s,
                            )
                            wall_s = truth.wall_s(reading, idle_s, memory_share=memory)
                            yield LoadObservation(reading, idle_s, wall_s, memory)

    def fit(self, rows, threads=1):
        return fit_load_model(
            rows, threads=threads, idle_chunk_s=60e-6, idle_memory_copy_s=2e-3, memory_probe_bytes=2**25
        )

    @pytest.mark.parametrize(
        "truth", [dataclasses.replace(MODEL, wait_gain=1.0, crowded_gain=1.0), dataclasses.replace(MODEL, threads=2)]
    )
    def test_it_recovers_the_coefficients(self, truth):
        rows = list(self.rows(truth))
        model = self.fit(rows, truth.threads)
        for name in ("wait_gain", "crowded_gain", "head_start_s", "processor_gain", "memory_gain"):
            assert getattr(model, name) == pytest.approx(getattr(truth, name), rel=0.03), name
        accuracy = accuracy_of(model, "all", rows)
        assert accuracy.error < 0.01 < accuracy.error_without

    def test_the_gain_follows_the_free_processor(self):
        model = dataclasses.replace(MODEL, threads=2, head_start_s=0.0, idle_memory_copy_s=None, memory_probe_bytes=0)
        plain = dataclasses.replace(READING, threads=2, chunk_s=60e-6, memory_copy_s=None, memory_probe_bytes=0)
        for others, gain in ((1.0, 1.8), (0.2, 1.8), (1.5, 1.45), (2.0, 1.1)):
            reading = dataclasses.replace(plain, others_processors=others)
            assert model.wall_s(reading, 0.1) == pytest.approx(0.1 * (1 + gain))
        assert model.wall_s(0.5, 0.1) == pytest.approx(0.1 * (1 + 1.1))

    def test_outliers_do_not_pull_it(self):
        rows = [
            dataclasses.replace(row, wall_s=row.wall_s * 3) if i % 10 == 0 else row
            for i, row in enumerate(self.rows(dataclasses.replace(MODEL, threads=2)))
        ]
        assert self.fit(rows, 2).wait_gain == pytest.approx(MODEL.wait_gain, rel=0.1)

    def test_what_is_not_seen_stays_as_in_theory(self):
        model = self.fit([LoadObservation(IDLE, 0.05, 0.05, 0.0)])
        assert (model.wait_gain, model.processor_gain, model.memory_gain) == pytest.approx((1, 1, 1))
        assert model.head_start_s == pytest.approx(0.002)

    def test_one_thread_waits_as_long_as_its_probe(self):
        model = self.fit(list(self.rows(MODEL)))
        assert (model.wait_gain, model.crowded_gain) == (1, 1)

    def test_no_rows(self):
        with pytest.raises(InputError, match="no observations"):
            self.fit([])
        with pytest.raises(InputError, match="no requests"):
            accuracy_of(MODEL, "none", [])


class TestParse:
    @pytest.mark.parametrize(
        ("value", "load"), [(0, 0.0), (0.25, 0.25), ("0.25", 0.25), ("25%", 0.25), ("0", 0.0), (".5", 0.5)]
    )
    def test_shares(self, value, load):
        assert parse_load(value) == load

    def test_a_reading(self):
        assert parse_load(READING, here=False) is READING

    def test_now(self):
        assert isinstance(parse_load("now"), LoadReading)
        with pytest.raises(InputError, match=r"server_load is 'now'.*only the machine that this runs on"):
            parse_load("now", name="server_load", here=False)

    @pytest.mark.parametrize(
        "value",
        [
            *(1, 1.0, -0.1, float("nan"), float("inf"), None, True, [0.1]),
            *("100%", "1.5", "-5%", "5 %", "", "%", ".", "nan", "inf", "1e-3", "Now", "٣"),
        ],
    )
    def test_anything_else(self, value):
        with pytest.raises(InputError, match="load is"):
            parse_load(value)


class TestNeighbours:
    @pytest.mark.parametrize("kind", ["busy", "memory"])
    def test_they_start_and_are_gone(self, kind):
        with neighbours(2, kind) as processes:
            pids = [process.pid for process in processes]
            assert all(running(pid) for pid in pids)
        assert not any(running(pid) for pid in pids)

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_they_are_gone_after_an_exception(self, error):
        pids = []

        def fail():
            with neighbours(1) as (process,):
                pids.append(process.pid)
                raise error

        with pytest.raises(error):
            fail()
        assert not running(pids[0])

    @pytest.mark.skipif(sys.platform == "win32", reason="kills the parent with a signal")
    def test_they_are_gone_when_the_parent_is_killed(self):
        code = (
            "import time\nfrom partition.load.neighbours import neighbours\n"
            "with neighbours(1) as processes:\n    print(processes[0].pid, flush=True)\n    time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
            pid = int(parent.stdout.readline())
            assert running(pid)
            parent.kill()
        assert gone_within(pid)

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process")
    def test_they_can_be_bound(self):
        cpu = allowed_cpus()[0]
        with neighbours(1, cpus=[cpu]) as (process,):
            assert os.sched_getaffinity(process.pid) == {cpu}
        with pytest.raises(InputError, match="bound to the processors"), neighbours(1, cpus=[10**4]):
            pass
        with pytest.raises(InputError, match="bound to the processors"), neighbours(1, cpus=[]):
            pass

    def test_none(self):
        with neighbours(0) as processes:
            assert processes == ()

    @pytest.mark.parametrize(("count", "kind"), [(-1, "busy"), (True, "busy"), (1.5, "busy"), (1, "lazy")])
    def test_what_cannot_be(self, count, kind):
        with pytest.raises(InputError, match="neighbour"), neighbours(count, kind):
            pass


class TestMonitor:
    def test_it_keeps_a_recent_reading_and_ends(self):
        with LoadMonitor(interval_s=0.01, window_s=0.05, memory_probe_bytes=0) as monitor:
            end_s = time.monotonic() + 20
            while monitor.readings + monitor.dropped < 2 and time.monotonic() < end_s:
                monitor.wait(0.05)
            assert monitor.readings + monitor.dropped >= 2
            assert monitor.own_cpu_s > 0
            with monitor.paused(), monitor.paused():
                assert monitor.latest is None or monitor.latest.threads == 1

    def test_it_does_not_read_while_paused(self):
        monitor = LoadMonitor(interval_s=0.01, window_s=0.05, memory_probe_bytes=0)
        with monitor.paused(), monitor:
            time.sleep(0.2)
            assert monitor.latest is None
            assert monitor.readings == 0

    def test_an_interval_out_of_range(self):
        with pytest.raises(InputError, match="interval_s"):
            LoadMonitor(interval_s=0)


class TestCalibration:
    def test_a_short_one(self):
        seen = []
        calibration = calibrate_load(
            {"sum": LoadWorkload(lambda: sum(range(200_000)), 0.0)},
            scenarios=[LoadScenario("busy", 0), LoadScenario("busy", 1), LoadScenario("memory", 1)],
            seconds=3,
            memory_probe_bytes=1 << 20,
            progress=lambda name, done: seen.append((name, done)),
        )
        assert [name for name, _ in seen] == ["idle", "1 busy", "1 memory"]
        assert calibration.model.threads == 1
        assert calibration.model.idle_memory_copy_s > 0
        assert [one.scenario for one in calibration.accuracy()] == ["idle", "1 busy", "1 memory"]
        assert "1 memory" in str(calibration)
        assert LoadModel.from_json(calibration.model.to_json(), "test") == calibration.model

    def test_the_scenarios_reach_beyond_the_processors(self):
        assert [one.name for one in default_scenarios(2)] == ["idle", "1 busy", "2 busy", "3 busy", "1 memory"]
        assert [one.count for one in default_scenarios(16)] == [0, 1, 8, 16, 17, 1]

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ({"seconds": 1}, "seconds"),
            ({"threads": 2}, "workloads="),
            ({"threads": 0}, "threads"),
            ({"workloads": {}}, "no workloads"),
            ({"workloads": {"a": LoadWorkload(int, 0.0)}, "scenarios": []}, "without neighbours"),
            (
                {"workloads": {"a": LoadWorkload(int, 0.0)}, "scenarios": [LoadScenario("busy", 1)]},
                "without neighbours",
            ),
        ],
    )
    def test_arguments_out_of_range(self, arguments, what):
        with pytest.raises(InputError, match=what):
            calibrate_load(**arguments)
