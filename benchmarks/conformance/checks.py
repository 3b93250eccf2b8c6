"""What has to hold: each check is a row that says which server, which client, what, and whether."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conformance.environments import Environment
from benchmarks.conformance.models import Array, Saved
from partition import load_plan
from partition.errors import InputError
from partition.export import triton_model
from partition.remote.client import V2Client
from partition.remote.errors import RemoteError
from partition.remote.options import RemoteOptions
from partition.remote.wire import Endpoint
from partition.serve.registry import ServedModel, open_models
from partition.v2.names import stage_interface

Check = dict[str, Any]


class Driver:
    """What runs where tritonclient is installed; see driver.py."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, **request: Any) -> Any:
        """Let it do something, and return what it found."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver of tritonclient ended at {request['do']}; its message is above")
        return json.loads(line)


@contextmanager
def driver(environment: Environment) -> Iterator[Driver]:
    """Start what drives tritonclient."""
    command = [str(environment.python), str(Path(__file__).with_name("driver.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Driver(process)
        finally:
            process.kill()


def check(server: str, client: str, what: str, ok: bool, reason: str = "") -> Check:
    """Return one row."""
    return {"kind": "check", "server": server, "client": client, "what": what, "ok": ok, "reason": reason}


def by_tritonclient(asked: Driver, server: str, url: str, saved: Sequence[Saved], work: Path) -> list[Check]:
    """Let tritonclient ask a server for everything that it knows to ask."""
    models = [
        _as_files(f"{one.label} {number}", model, one, work)
        for one in saved
        for number, model in enumerate(open_models([one.folder], threads=1).values())
    ]
    found = asked.ask(do="check", url=url.removeprefix("http://"), models=models)
    return [check(server, "tritonclient", one["what"], one["ok"]) for one in found]


def _as_files(label: str, model: ServedModel, saved: Saved, work: Path) -> dict[str, Any]:
    """Write inputs of a stage and the outputs that it has in this process."""
    inputs = stage_inputs(model, saved)
    outputs = model.run(inputs)
    arrays = {f"in{number}": _plain(inputs[name]) for number, name in enumerate(model.inputs)}
    arrays |= {f"out{number}": _plain(outputs[name]) for number, name in enumerate(model.outputs)}
    file = work / f"{model.name}.npz"
    np.savez(file, allow_pickle=False, **arrays)
    told = model.metadata()
    return {"name": model.name, "label": label, "file": str(file), "inputs": told["inputs"], "outputs": told["outputs"]}


def _plain(array: Array) -> Array:
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def stage_inputs(model: ServedModel, saved: Saved) -> dict[str, Array]:
    """Return inputs of a stage: those of the whole model where they are its own, else made-up floats."""
    generator = np.random.default_rng(0)
    found = {}
    for name, tensor in model.inputs.items():
        whole = saved.inputs.get(f"x{name.removeprefix('cut')}", saved.inputs.get(name))
        if whole is None:
            sizes = [1 if size < 0 else size for size in tensor.shape]
            whole = generator.standard_normal(sizes).astype(np.float32)
        found[name] = whole
    return found


def by_our_sessions(server: str, url: str, saved: Sequence[Saved]) -> list[Check]:
    """Run plans with a server, nothing held back for the device, and compare with a run in this process."""
    found = []
    for one in saved:
        plan = load_plan(one.folder)
        with plan.session(threads=1) as session:
            wanted = session.run(one.inputs)
        what = f"{one.label}: a session's outputs equal those in process"
        try:
            options = RemoteOptions(hold="own", adapt=False, shortest_timeout_s=10)
            with plan.session(server=url, threads=1, options=options) as remote:
                same = all(_same(remote.run(one.inputs), wanted) for _ in range(3))
                told = remote.last
                assert told is not None
            used = any(stage.machine == "server" and stage.parts for stage in plan.stages)
            found.append(check(server, "ours", what, same and used and told.fault is None))
        except (RemoteError, InputError) as error:
            found.append(check(server, "ours", what, False, str(error)))
    return found


def by_our_client(server: str, url: str, saved: Sequence[Saved]) -> list[Check]:
    """Ask for each stage of each placement, and compare with the same stage in this process."""
    found = []
    with V2Client(Endpoint.parse(url)) as client:
        for one in saved:
            plan = load_plan(one.folder)
            models = open_models([one.folder], threads=1)
            placements = [plan.stages, *(choice.stages for choice in plan.choices)]
            stages = {part.parts for stages in placements for part in stages if part.machine == "server" and part.parts}
            for numbers in sorted(stages):
                stage = stage_interface(plan, numbers)
                inputs = stage_inputs(models[stage.name], one)
                what = f"{one.label}: parts {numbers[0]} to {numbers[-1]} alone"
                try:
                    client.check_stage(stage, timeout_s=10)
                    outputs, _ = client.infer(stage, inputs, timeout_s=60)
                    found.append(check(server, "ours", what, _same(outputs, models[stage.name].run(inputs))))
                except RemoteError as error:
                    found.append(check(server, "ours", what, False, str(error)))
    return found


def _same(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> bool:
    return set(found) == set(wanted) and all(
        found[name].dtype == value.dtype and np.array_equal(found[name], value) for name, value in wanted.items()
    )


def of_configurations(asked: Driver, repositories: Sequence[Path], saved: Sequence[Saved]) -> list[Check]:
    """Let protobuf parse every ``config.pbtxt`` as Triton's own message, and compare with what is served."""
    served = {name: model for one in saved for name, model in open_models([one.folder], threads=1).items()}
    found = []
    for repository in repositories:
        folders = sorted(path.parent for path in repository.glob("*/config.pbtxt"))
        parsed = asked.ask(do="parse", files=[str(folder / "config.pbtxt") for folder in folders])
        good = True
        for folder, config in zip(folders, parsed, strict=True):
            good &= config["name"] == folder.name and bool(config["backend"])
            good &= all((repository / name).is_dir() for name, _, _ in config["steps"])
            model = served.get(folder.name)
            if model is not None:
                for side, own in (("input", model.inputs), ("output", model.outputs)):
                    types = [
                        [name, f"TYPE_{'STRING' if one.datatype == 'BYTES' else one.datatype}", list(one.shape)]
                        for name, one in own.items()
                    ]
                    good &= types == config[side]
        backends = sorted({config["backend"] for config in parsed})
        found.append(
            check("none", "protobuf", f"{len(parsed)} config.pbtxt, {' and '.join(backends)}: parsed, as served", good)
        )
    return found


def in_python_backend(repository: Path, target: Path) -> None:
    """Copy a repository for the onnxruntime backend, each of its models run by our program instead.

    The wheel has no onnxruntime backend. So at least the ensembles are tried as they are.
    """
    shutil.copytree(repository, target)
    for path in target.glob("*/config.pbtxt"):
        text = path.read_text(encoding="ascii")
        if 'backend: "onnxruntime"' in text:
            text = text.replace('backend: "onnxruntime"', 'backend: "python"')
            for key, value in (("parts", '[\\"model.onnx\\"]'), ("scalars", "[]")):
                text += f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
            path.write_text(text, encoding="ascii")
            shutil.copy(triton_model.__file__, path.parent / "1" / "model.py")
