"""The energy that a processor counts itself: Linux shows RAPL's counters as files, one folder for each zone.

``/sys/class/powercap/intel-rapl:0`` is a package (its file ``name`` says ``package-0``), ``intel-rapl:0:0`` a part of
it. Packages and the memory (``dram``) beside them are added up; ``core`` and ``uncore`` lie within their package, and
``psys``, the whole platform, holds the packages: neither is counted a second time. Folders of ``intel-rapl-mmio`` show
the same packages by another road and are not read. AMD's processors appear under the same names.

``energy_uj`` counts microjoules and starts anew after ``max_energy_range_uj``, so a counter that fell has wrapped once.
(The true period is one unit of the counter longer, at most some 60 microjoules, which is left out at each wrap.) Two
wraps between two readings cannot be told from one, so readings that lie too far apart are refused.

What RAPL sees is processors and memory: no board, disk, screen, radio or power supply. A virtual machine has none.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from partition.energy.figures import positive
from partition.errors import InputError

POWERCAP = "/sys/class/powercap"
"""Where Linux shows the zones."""

Scope = Literal["packages", "platform"]

_TOP = re.compile(r"intel-rapl:[0-9]+")
_PACKAGE = re.compile(r"package-[0-9]+(?:-die-[0-9]+)?")
_INSTEAD = "or measure with a meter of your own (partition.energy.meter)"


@dataclass(frozen=True, slots=True)
class RaplZone:
    """One counter.

    Parameters
    ----------
    name : str
        ``"package-0"``, ``"package-0 dram"`` or ``"psys"``.
    folder : pathlib.Path
        Where its files are.
    range_microjoules : int
        The count after which it starts anew.
    """

    name: str
    folder: Path
    range_microjoules: int

    def microjoules(self) -> int:
        """Read the counter.

        Raises
        ------
        InputError
            It cannot be read, or is not a whole number within its range.
        """
        count = _read_count(self.folder / "energy_uj")
        if count > self.range_microjoules:
            raise InputError(
                f"RAPL counter {str(self.folder / 'energy_uj')!r} is {count}, above its max_energy_range_uj of "
                f"{self.range_microjoules}; these files do not belong together, so nothing can be measured with them"
            )
        return count


class RaplMeter:
    """Joules that processors and memory have drawn since the first reading; an `EnergyMeter`.

    Parameters
    ----------
    root : str or path-like
        The folder that holds the zones' folders.
    scope : {"packages", "platform"}
        All packages and the memory beside them, or ``psys``, which some laptops have.
    most_watts : float
        More than any zone ever draws. It says how far apart two readings may lie: no zone may be able to wrap twice.

    Raises
    ------
    InputError
        No such zone, or one that cannot be read; the message says what to do.

    Notes
    -----
    Ranges are 65 to 262 kJ on most processors, so at the default of 1000 W readings may lie one to four minutes apart.
    """

    __slots__ = ("_counts", "_longest_s", "_microjoules", "_read_at_s", "left_out", "zones")

    zones: tuple[RaplZone, ...]
    """The counters that are added up."""
    left_out: tuple[str, ...]
    """The names of the zones that are not counted, since they lie within others or beside the scope."""

    def __init__(
        self, root: str | os.PathLike[str] = POWERCAP, *, scope: Scope = "packages", most_watts: float = 1000.0
    ) -> None:
        if scope not in ("packages", "platform"):
            raise InputError(f"scope {scope!r} is unknown; use 'packages', 'platform'")
        most_watts = positive(most_watts, "most_watts")
        self.zones, self.left_out = _find_zones(Path(root), scope)
        self._longest_s = min(zone.range_microjoules for zone in self.zones) / 1e6 / most_watts
        # Read now, so that a counter that is closed to this user is refused before anything is measured.
        self._counts = [zone.microjoules() for zone in self.zones]
        self._microjoules = 0
        self._read_at_s: float | None = None

    @property
    def name(self) -> str:
        """The zones that are added up."""
        return f"RAPL ({', '.join(zone.name for zone in self.zones)})"

    @property
    def longest_between_readings_s(self) -> float:
        """Seconds that two calls of `joules` may lie apart."""
        return self._longest_s

    def joules(self) -> float:
        """Return the joules since the first call, which returns 0.

        Raises
        ------
        InputError
            A counter cannot be read any more, or the last call lies so far back that one may have wrapped twice.
        """
        now_s = time.monotonic()
        counts = [zone.microjoules() for zone in self.zones]
        if self._read_at_s is not None:
            passed_s = now_s - self._read_at_s
            if passed_s > self._longest_s:
                raise InputError(
                    f"{self.name} was last read {passed_s:.3g} s ago, and a counter may wrap twice within "
                    f"{self._longest_s:.3g} s; read it more often, or make a new RaplMeter for a new measurement"
                )
            for zone, before, after in zip(self.zones, self._counts, counts, strict=True):
                self._microjoules += after - before + (zone.range_microjoules if after < before else 0)
        self._counts, self._read_at_s = counts, now_s
        return self._microjoules / 1e6

    def __repr__(self) -> str:
        return f"<RaplMeter {', '.join(zone.name for zone in self.zones)}>"


def _find_zones(root: Path, scope: Scope) -> tuple[tuple[RaplZone, ...], tuple[str, ...]]:
    """Return the zones to add up, and the names of the others."""
    try:
        top = sorted((path for path in root.iterdir() if _TOP.fullmatch(path.name)), key=_number)
    except OSError as error:
        raise InputError(
            f"cannot list the RAPL zones in {str(root)!r}: {error.strerror or error}; RAPL needs Linux on an Intel or "
            f"AMD processor, not in a virtual machine. Use such a machine, {_INSTEAD}"
        ) from error
    if not top:
        raise InputError(
            f"no RAPL zone (intel-rapl:0 and so on) in {str(root)!r}; load the kernel module intel_rapl_msr on an "
            f"Intel or AMD processor, {_INSTEAD}"
        )
    wanted: list[RaplZone] = []
    left_out: list[str] = []
    for folder in top:
        name = _read_text(folder / "name")
        is_package = _PACKAGE.fullmatch(name) is not None
        counted = is_package if scope == "packages" else name == "psys"
        # The kernel hangs the memory's zone under the package's, whose count does not hold it.
        found = [(name, folder, counted)]
        for child in _children(root, folder):
            part = _read_text(child / "name")
            found.append((f"{name} {part}", child, counted and is_package and part == "dram"))
        wanted += [_zone(zone, place) for zone, place, is_counted in found if is_counted]
        left_out += [zone for zone, _, is_counted in found if not is_counted]
    if not wanted:
        missing, other = ("package", "platform") if scope == "packages" else ("psys", "packages")
        raise InputError(
            f"no {missing} zone among the RAPL zones in {str(root)!r} ({', '.join(left_out)}); "
            f"use scope={other!r}, {_INSTEAD}"
        )
    return tuple(wanted), tuple(left_out)


def _children(root: Path, folder: Path) -> list[Path]:
    """Return the zones within a zone, which /sys/class/powercap lists beside it and /sys/devices within it."""
    pattern = re.compile(re.escape(folder.name) + ":[0-9]+")
    try:
        listed = {
            path.name: path for place in (root, folder) for path in place.iterdir() if pattern.fullmatch(path.name)
        }
    except OSError as error:
        raise InputError(
            f"cannot list the RAPL zone {str(folder)!r}: {error.strerror or error}; check who may read it, {_INSTEAD}"
        ) from error
    return sorted(listed.values(), key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition(":")[2])


def _zone(name: str, folder: Path) -> RaplZone:
    path = folder / "max_energy_range_uj"
    counts = _read_count(path)
    if counts == 0:
        raise InputError(
            f"RAPL file {str(path)!r} is 0, so its counter cannot be followed; {_INSTEAD.removeprefix('or ')}"
        )
    return RaplZone(name, folder, counts)


def _read_count(path: Path) -> int:
    text = _read_text(path)
    if re.fullmatch(r"[0-9]{1,19}", text) is None:
        raise InputError(
            f"RAPL file {str(path)!r} holds {text[:40]!r}, expected a whole number of microjoules; check that it is "
            f"the kernel's, {_INSTEAD}"
        )
    return int(text)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise InputError(
            f"RAPL file {str(path)!r} may be read by root alone: since Linux 5.10 the counters are closed to others, "
            "who could guess at secrets from them (CVE-2020-8694). Run the measurement as root, or let a group that "
            f"you trust read it until the next start (sudo chgrp GROUP FILE; sudo chmod g+r FILE), {_INSTEAD}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the RAPL file {str(path)!r}: {reason}; check the folder, {_INSTEAD}") from error
