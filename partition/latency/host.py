"""What this host is: what a file that was measured here says of its hardware."""

import os
import platform
import re
from pathlib import Path

from partition.files import Scalar


def available_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """Return the processor's name as the system tells it, or ``"unknown"``."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or "unknown"


def host_name() -> str:
    """Return this host's name, or ``"this-machine"`` where it has none."""
    return platform.node().strip() or "this-machine"


def host_hardware() -> dict[str, Scalar]:
    """Return processor, architecture, how many processors may be used, and system."""
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "processors_available": available_processors(),
        "system": platform.platform(),
    }
