"""What the demonstration cuts, and where it puts the parts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEMO_MODEL = "bvlc_alexnet"
"""The topology that the onnx package ships; its best cut on Wi-Fi lies inside, as in the Neurosurgeon paper."""

DEMO_BANDWIDTH = "wifi"


@contextmanager
def demo_folder(wanted: Path | None) -> Iterator[Path]:
    """Yield the folder for the parts: the one wanted, or one that vanishes afterwards."""
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="dnn-partition-demo-") as temporary:
        yield Path(temporary) / "out"
