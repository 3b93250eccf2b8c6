"""Coverage-guided fuzzing of loading and inspecting (``make fuzz``): no error but ours, for any bytes.

``python -m tests.graph_io.fuzz FOLDER [options of libFuzzer]``: files that reach new code are kept in the folder, and
the search goes on from them; a file that breaks something is written as ``crash-...`` where the command was given.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["graph_io", "partition.report"]):
    import graph_io.graph  # noqa: F401
    import partition.report.inspection  # noqa: F401  loaded here, where it is instrumented

from tests.graph_io import mutations
from tests.graph_io.fuzz_worker import try_file


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(mutations.bases()):
        (folder / f"base-{number}").write_bytes(content)
    with tempfile.TemporaryDirectory(prefix="dnn-partition-fuzz-") as temporary:
        path = Path(temporary) / "fuzzed.onnx"

        def try_bytes(content):
            path.write_bytes(content)
            kind, said = try_file(path, "node" if len(content) % 2 else "layer")
            if kind == "foreign" or "\n" in said:
                raise RuntimeError(f"{kind}: {said}")

        atheris.Setup(sys.argv, try_bytes)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
