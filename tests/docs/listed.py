"""The one table of examples that are not run as they stand, each with its reason. All others are run.

`make test-full` runs those marked ``full``, with ``--quick`` where that is named. An entry that no page needs any more
fails the tests, as does an example that is neither run nor listed.
"""

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.docs import stand_ins


@dataclass(frozen=True, slots=True)
class Listed:
    """Why an example is not run in ``make test``, and what happens in its place."""

    begins: str  # of a command; for other blocks any text within them
    reason: str
    page: str = "*"  # pattern
    full: bool = False  # run in `make test-full`
    adding: str = ""  # words that `make test-full` adds
    leaves: Callable[[Path, list[str]], None] | None = None  # writes what the command's words would leave in a folder
    instead: str = ""  # a command that is run in its place


def _profile(folder: Path, words: list[str]) -> None:
    """Write a timings file, or one over lengths, that nobody measured."""
    target = folder / words[words.index("-o") + 1]
    if any(".." in word for word in words):
        stand_ins.WRITERS.get(target.name, stand_ins.WRITERS["pi.lengths.json"])(target)
    else:
        model = next(word for word in words if word.endswith(".onnx"))
        machine = "xeon-server" if target.name.startswith("server") else "raspberry-pi-4"
        stand_ins.timings(folder / model, machine=machine).save(target)


COMMANDS = (
    Listed("pip install", "needs the network; CI installs the library before it runs this"),
    Listed("ssh robot .venv/bin/dnn-partition profile", "needs a second machine", leaves=_profile),
    Listed("scp ", "needs a second machine"),
    Listed("sudo ", "needs root"),
    Listed("podman ", "needs the network, for the image's base"),
    Listed("make test", "these tests are a part of it"),
    Listed("make demo", "installs into an environment; CI runs it as a step of its own"),
    Listed("python -m benchmarks", "runs for minutes; tests of its own run it in parts", full=True, adding="--quick"),
    Listed(
        "tritonserver",
        "is not ours; python -m benchmarks.conformance runs a real one, here our server has the same models",
        instead="dnn-partition serve out/",
    ),
    Listed("dnn-partition demo", "CI runs it through `make demo`", full=True),
    Listed(
        "dnn-partition profile", "measures for ten seconds; tests/partition has tests of it", full=True, leaves=_profile
    ),
    # Other tests run beside it, and its model of load wants a machine at rest.
    Listed("dnn-partition calibrate -o", "measures for minutes", full=True, adding="--quick --no-load"),
    Listed(
        "dnn-partition batch zoo/ --links 100kbps..1Gbps:1000",
        "four worker processes load the library each",
        full=True,
    ),
)
"""By how a command begins. The first entry that fits counts."""

BLOCKS = (
    Listed("graph_io/     ONNX <-> graph", "a map of folders", "README.md"),
    Listed("@software{", "a citation", "README.md"),
    Listed("best(v, s) = compute(v", "a formula", "docs/chain.md"),
    Listed("expected = share_1 * L_1", "a formula", "docs/exits.md"),
    Listed(
        'Client("scheduler:8786")', "needs a cluster; tests/partition/test_batch.py runs a local one", "docs/batch.md"
    ),
    Listed("register_ray", "Ray is not among the packages that are tested with", "docs/batch.md"),
    Listed("kind: InferenceService", "needs a cluster", "docs/triton.md"),
    Listed("RaplMeter", "virtual machines have no RAPL, and reading it takes root", "docs/power.md"),
    Listed("print(measured)", "of the measurement above it", "docs/power.md"),
    Listed("read_watts_of_my_plug", "needs a meter", "docs/power.md"),
    Listed("measured.power(", "of the measurement above it", "docs/power.md"),
)
"""By a text within a block, or within an example of a doctest that is skipped."""

BENCHMARKS = {
    "accuracy": "calibrates, which wants a machine at rest; tests/test_accuracy_benchmark.py runs its sections",
}
"""Benchmarks that sentences name and that `make test-full` does not run with --quick."""

PLACEHOLDERS = {
    "MODEL": "model.onnx",
    "MODELS/": "zoo/",
    "MODELS...": "zoo/",
    "WORKLOAD.json": "workload.json",
    "NETWORK": "network.json",
    "DIR": "data",
    "TENSOR": "wide1",
    "T1": "narrow",
    "T2,T3": "wide2",
}
"""Words of commands that stand for a reader's own files and names. A MODEL with --dim is sequence.onnx."""

OF_EXITS = {"MODEL": "branches.onnx", "DIR": "labelled"}
"""The same, of commands that want early exits."""

FILES = {"docs/routing.md": {"json": "network.json"}, "docs/guide/sequences.md": {"json": "network.json"}}
"""By page and language of a block: the file that the block is the content of."""

_IMAGE = "import numpy as np\nimage = np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)\n"
_WORDS = "import numpy as np\nwords = np.zeros((57, 1, 6), np.float32)\n"
_SAVED = "from partition import partition\nplan = partition('model.onnx', '8.8Mbps').save('out/')\n"
GIVEN = {
    "docs/device.md": _SAVED,
    "docs/emulation.md": f"{_SAVED}session = plan.session(threads=1)\n"
    "inputs = {'image': __import__('numpy').zeros((1, 3, 64, 64), 'float32')}\n",
    "docs/exits.md": "import numpy as np\nimage = np.zeros((1, 3, 64, 64), np.float32)\n",
    "docs/lengths.md": _WORDS,
    "docs/live-routing.md": _WORDS,
    "docs/report.md": _IMAGE,
    "docs/routing.md": "lengths = [1, 5, 9, 30, 2]\n",
    "docs/running.md": _IMAGE,
    "docs/triton.md": _IMAGE,
}
"""By page: what its Python takes as given, such as an image of the reader's."""


def listed_command(page: str, command: str) -> Listed | None:
    """Return the entry of a command."""
    return next((one for one in COMMANDS if command.startswith(one.begins) and fnmatch.fnmatch(page, one.page)), None)


def listed_block(page: str, text: str) -> Listed | None:
    """Return the entry of another block, or of an example of a doctest."""
    return next((one for one in BLOCKS if one.begins in text and fnmatch.fnmatch(page, one.page)), None)
