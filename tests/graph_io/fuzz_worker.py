"""One process that takes file after file through load and inspect, and says how each ended."""

import contextlib
import io
import json
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

# More than this, and the system refuses; what is really taken is asked of it afterwards.
_ADDRESS_SPACE_BYTES = 6 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file ended: "loaded", "refused" with its message, or "foreign" with an error that is none of ours."""

    kind: str
    said: str
    cpu_s: float
    memory_bytes: int
    printed: str


def peak_bytes():
    """Return the most memory that this process had; the system's own counter begins with that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def try_file(path: Path, granularity: str) -> tuple[str, str]:
    """Load, inspect, split in two; return the kind of outcome and what was said."""
    from rich.console import Console

    import graph_io
    from partition.report.inspection import inspection_json, inspection_view

    try:
        graph = graph_io.load_graph(path, granularity=granularity)
        json.dumps(inspection_json(graph), allow_nan=False)
        Console(file=io.StringIO(), markup=False).print(inspection_view(graph))
        layers = list(graph)
        if len(layers) > 1:
            halves = [layers[: len(layers) // 2], layers[len(layers) // 2 :]]
            for part in graph_io.split(graph, halves):
                part.proto.SerializeToString()
    except graph_io.ModelError as error:
        return "refused", str(error)
    except Exception as error:
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
        return "foreign", f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
    return "loaded", ""


def work(connection, folder) -> None:
    """Take (file's content, granularity) after (content, granularity) until None comes; answer with an `Outcome`."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    # A core of a crash would fill the folder of tests.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("error")
    path = Path(folder) / "mutated.onnx"
    while (task := connection.recv()) is not None:
        content, granularity = task
        path.write_bytes(content)
        before_s = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            kind, said = try_file(path, granularity)
        memory = peak_bytes()
        connection.send(Outcome(kind, said, time.process_time() - before_s, memory, printed.getvalue()))
