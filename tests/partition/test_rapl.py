"""RAPL's files: which zones are added up, counters that wrap, and what is refused.

There may be no RAPL where these tests run, so they read recorded trees: written out here by hand as Linux lays them
out, with counts of a usual size, for a laptop, a server with two processors, and an AMD processor.
"""

import types
from pathlib import Path

import pytest

from partition.energy import measure, rapl
from partition.energy.measure import measure_power
from partition.energy.meter import EnergyMeter
from partition.energy.radio import power_over_radio
from partition.energy.rapl import RaplMeter
from partition.errors import InputError

LAPTOP = {
    "intel-rapl": {"enabled": "1"},
    "intel-rapl:0": {"name": "package-0", "max_energy_range_uj": 262143328850, "energy_uj": 13172518204},
    "intel-rapl:0:0": {"name": "core", "max_energy_range_uj": 262143328850, "energy_uj": 5121004412},
    "intel-rapl:0:1": {"name": "uncore", "max_energy_range_uj": 262143328850, "energy_uj": 191811522},
    "intel-rapl:0:2": {"name": "dram", "max_energy_range_uj": 65712999613, "energy_uj": 2217120010},
    "intel-rapl:1": {"name": "psys", "max_energy_range_uj": 262143328850, "energy_uj": 61120155029},
    "intel-rapl-mmio": {"enabled": "1"},
    "intel-rapl-mmio:0": {"name": "package-0", "max_energy_range_uj": 262143328850, "energy_uj": 13172518204},
    "dtpm": {},
}
SERVER = {
    "intel-rapl": {"enabled": "1"},
    "intel-rapl:0": {"name": "package-0", "max_energy_range_uj": 262143328850, "energy_uj": 201344211200},
    "intel-rapl:0:0": {"name": "dram", "max_energy_range_uj": 65712999613, "energy_uj": 40113221100},
    "intel-rapl:1": {"name": "package-1", "max_energy_range_uj": 262143328850, "energy_uj": 199122001412},
    "intel-rapl:1:0": {"name": "dram", "max_energy_range_uj": 65712999613, "energy_uj": 38101911223},
}
AMD = {
    "intel-rapl": {"enabled": "1"},
    "intel-rapl:0": {"name": "package-0", "max_energy_range_uj": 65532610987, "energy_uj": 28412077334},
    "intel-rapl:0:0": {"name": "core", "max_energy_range_uj": 65532610987, "energy_uj": 1190240211},
}


class Clock:
    """A clock that stands until it is told to go on; `each_s` is told of every step."""

    def __init__(self):
        self.now_s = 1000.0
        self.each_s = []

    def monotonic(self):
        return self.now_s

    perf_counter = monotonic

    def sleep(self, seconds):
        self.now_s += seconds
        for step in self.each_s:
            step(seconds)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    module = types.SimpleNamespace(monotonic=made.monotonic, perf_counter=made.perf_counter, sleep=made.sleep)
    monkeypatch.setattr(rapl, "time", module)
    monkeypatch.setattr(measure, "time", module)
    return made


@pytest.fixture
def recorded(tmp_path):
    def write(zones):
        for zone, files in zones.items():
            (tmp_path / zone).mkdir()
            for name, content in files.items():
                (tmp_path / zone / name).write_text(f"{content}\n")
        return tmp_path

    return write


def add(root: Path, zone, microjoules):
    """Let a recorded counter go on, over its end where it lies in the way."""
    path = root / zone / "energy_uj"
    period = int((root / zone / "max_energy_range_uj").read_text())
    path.write_text(f"{(int(path.read_text()) + microjoules) % period}\n")


@pytest.mark.parametrize(
    ("zones", "counted", "left_out"),
    [
        (LAPTOP, ("package-0", "package-0 dram"), ("package-0 core", "package-0 uncore", "psys")),
        (SERVER, ("package-0", "package-0 dram", "package-1", "package-1 dram"), ()),
        (AMD, ("package-0",), ("package-0 core",)),
    ],
)
def test_zones(recorded, zones, counted, left_out):
    meter = RaplMeter(recorded(zones))
    assert tuple(zone.name for zone in meter.zones) == counted
    assert meter.left_out == left_out
    assert meter.name == f"RAPL ({', '.join(counted)})"
    assert isinstance(meter, EnergyMeter)
    assert "package-0" in repr(meter)


def test_dies_and_many_packages(recorded):
    zone = {"max_energy_range_uj": 262143328850, "energy_uj": 7}
    meter = RaplMeter(recorded({f"intel-rapl:{n}": {"name": f"package-0-die-{n}", **zone} for n in range(11)}))
    assert [zone.name for zone in meter.zones] == [f"package-0-die-{n}" for n in range(11)]


def test_only_packages_and_memory_are_added_up(recorded, clock):
    root = recorded(LAPTOP)
    meter = RaplMeter(root)
    add(root, "intel-rapl:0", 9_000_000)  # before the first reading
    assert meter.joules() == 0
    add(root, "intel-rapl:0", 3_000_000)
    add(root, "intel-rapl:0:0", 2_000_000)
    add(root, "intel-rapl:0:2", 500_000)
    add(root, "intel-rapl:1", 8_000_000)
    assert meter.joules() == 3.5
    assert meter.joules() == 3.5


def test_the_platform(recorded, clock):
    root = recorded(LAPTOP)
    meter = RaplMeter(root, scope="platform")
    assert meter.joules() == 0
    add(root, "intel-rapl:0", 3_000_000)
    add(root, "intel-rapl:1", 8_000_000)
    assert meter.joules() == 8
    assert meter.left_out == ("package-0", "package-0 core", "package-0 uncore", "package-0 dram")


def test_zones_that_lie_within_each_other(recorded, tmp_path):
    """/sys/devices/virtual/powercap/intel-rapl holds the parts within the packages, not beside them."""
    root = recorded({name: LAPTOP[name] for name in ("intel-rapl:0", "intel-rapl:0:2")})
    (root / "intel-rapl:0:2").rename(root / "intel-rapl:0" / "intel-rapl:0:2")
    assert [zone.name for zone in RaplMeter(root).zones] == ["package-0", "package-0 dram"]


def test_zones_that_are_links(recorded, tmp_path):
    """/sys/class/powercap holds links; the parts are then seen in both places and counted once."""
    root = recorded({name: LAPTOP[name] for name in ("intel-rapl:0", "intel-rapl:0:2")})
    (root / "intel-rapl:0:2").rename(root / "intel-rapl:0" / "intel-rapl:0:2")
    (root / "class").mkdir()
    for name in ("intel-rapl:0", "intel-rapl:0/intel-rapl:0:2"):
        (root / "class" / Path(name).name).symlink_to(root / name)
    assert [zone.name for zone in RaplMeter(root / "class").zones] == ["package-0", "package-0 dram"]


def test_a_counter_that_wraps(recorded, clock):
    zones = {name: dict(files) for name, files in SERVER.items()}
    zones["intel-rapl:0"]["energy_uj"] = 262143328850 - 1_000_000
    zones["intel-rapl:1:0"]["energy_uj"] = 65712999613
    root = recorded(zones)
    meter = RaplMeter(root)
    assert meter.joules() == 0
    add(root, "intel-rapl:0", 3_000_000)
    assert int((root / "intel-rapl:0" / "energy_uj").read_text()) == 2_000_000
    assert meter.joules() == 3
    add(root, "intel-rapl:1:0", 250_000)
    assert meter.joules() == 3.25
    for _ in range(9):  # more than one period, in steps that can be followed
        add(root, "intel-rapl:0", 50_000_000_000)
        clock.sleep(60)
        last = meter.joules()
    assert last == 450_003.25


def test_readings_too_far_apart(recorded, clock):
    root = recorded(AMD)
    meter = RaplMeter(root)
    assert meter.longest_between_readings_s == pytest.approx(65.5, abs=0.1)
    clock.sleep(1e6)
    assert meter.joules() == 0  # nothing was counted before
    clock.sleep(65)
    meter.joules()
    clock.sleep(66)
    with pytest.raises(
        InputError, match=r"last read 66 s ago, .* twice within 65.5 s; read it more often, or make a new"
    ):
        meter.joules()
    assert RaplMeter(root, most_watts=100).longest_between_readings_s == pytest.approx(655, abs=1)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("energy_uj", "", r"energy_uj' holds '', expected a whole number of microjoules"),
        ("energy_uj", "12.5", r"holds '12.5', expected a whole number"),
        ("energy_uj", "-3", r"holds '-3', expected a whole number"),
        ("energy_uj", "65532610988", r"is 65532610988, above its max_energy_range_uj of 65532610987"),
        ("energy_uj", None, r"cannot read the RAPL file '.*energy_uj': No such file"),
        ("max_energy_range_uj", None, r"cannot read the RAPL file '.*max_energy_range_uj': No such file"),
        ("max_energy_range_uj", "0", r"max_energy_range_uj' is 0, so its counter cannot be followed"),
        ("name", None, r"cannot read the RAPL file '.*name'"),
        (
            "name",
            "psys",
            r"no package zone among the RAPL zones in '.*' \(psys, psys core\); use scope='platform', or measure",
        ),
        ("name", "\xe9", r"cannot read the RAPL file '.*name'"),
    ],
)
def test_files_that_cannot_be_used(recorded, file, content, message):
    path = recorded(AMD) / "intel-rapl:0" / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        RaplMeter(path.parent.parent)


def test_a_counter_that_goes_away(recorded, clock):
    root = recorded(AMD)
    meter = RaplMeter(root)
    meter.joules()
    (root / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(InputError, match="cannot read the RAPL file"):
        meter.joules()


def test_no_rapl(tmp_path):
    with pytest.raises(
        InputError, match=r"cannot list the RAPL zones in .*No such file.*not in a virtual machine.*meter"
    ):
        RaplMeter(tmp_path / "powercap")
    with pytest.raises(InputError, match=r"no RAPL zone .* load the kernel module intel_rapl_msr"):
        RaplMeter(tmp_path)
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0\n")
    with pytest.raises(InputError, match=r"no psys zone among the RAPL zones .*; use scope='packages'"):
        RaplMeter(tmp_path, scope="platform")


def test_counters_for_root_alone(recorded, monkeypatch):
    """As since Linux 5.10 for other users; raised by hand, since whoever runs this test may be root."""
    root = recorded(LAPTOP)
    read_text = Path.read_text

    def closed(path, **more):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **more)

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(
        InputError, match=r"energy_uj' may be read by root alone.*CVE-2020-8694.*as root, or let a group"
    ):
        RaplMeter(root)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"scope": "core"}, "scope 'core' is unknown; use 'packages', 'platform'"),
        ({"most_watts": 0}, "most_watts is 0, expected a finite number of watts above 0"),
        ({"most_watts": True}, "most_watts is True"),
        ({"most_watts": float("nan")}, "most_watts is nan"),
    ],
)
def test_arguments_are_checked(recorded, more, message):
    with pytest.raises(InputError, match=message):
        RaplMeter(recorded(AMD), **more)


def test_power_from_a_recorded_tree(recorded, clock):
    """The counter goes on with the clock: 7 W and 1 W of memory while idle, 40 W and 3 W while it works."""
    root = recorded(LAPTOP)
    clock.each_s += [
        lambda seconds: add(root, "intel-rapl:0", round(7e6 * seconds)),
        lambda seconds: add(root, "intel-rapl:0:2", round(1e6 * seconds)),
    ]

    def busy():
        clock.sleep(0.25)
        add(root, "intel-rapl:0", round(33e6 * 0.25))
        add(root, "intel-rapl:0:2", round(2e6 * 0.25))

    measured = measure_power(RaplMeter(root), busy)
    assert (measured.idle_watts, measured.compute_watts) == pytest.approx((8, 43))
    assert measured.n_runs == 40
    power = power_over_radio("wifi", "wifi", compute_watts=measured.compute_watts, idle_watts=measured.idle_watts)
    assert power.send_watts == pytest.approx(8 + 0.28317 * 18.88 + 0.13286)
