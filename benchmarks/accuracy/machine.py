"""This machine's calibration: the file that the caller gives, or one made now."""

import importlib.metadata
import time
from functools import cache
from pathlib import Path

from rich.console import Console

from partition.latency.calibrate import calibrate
from partition.latency.host import processor_name
from partition.latency.machines import Machine, load_machine

# Enough to show every table, not to judge one.
_QUICK_SHARE = 0.001


@cache
def calibrated_machine(path: Path | None, quick: bool) -> Machine:
    """Return a calibrated machine at 1 and 2 threads.

    Raises
    ------
    ValueError
        The file cannot be used, is not of this processor and runtime, or was not calibrated in full at these threads.
    """
    console = Console(stderr=True)
    if path is None:
        console.print(f"calibrating this machine ({'half a minute' if quick else 'ten minutes'}) ...")
        start = time.perf_counter()
        machine = calibrate(threads=(1, 2), quick=quick, share=_QUICK_SHARE if quick else None, name="this-machine")
        console.print(f"calibrated in {time.perf_counter() - start:.0f} s")
        return machine
    found = load_machine(path)
    if not isinstance(found, Machine) or found.calibration is None:
        raise ValueError(f"'{path}' is not the file of a calibrated machine")
    here = (processor_name(), importlib.metadata.version("onnxruntime"), (1, 2))
    if (found.hardware.get("processor"), found.runtime.version, found.calibration.threads) != here:
        raise ValueError(f"'{path}' was not calibrated on this processor with this runtime at 1 and 2 threads")
    return found
