"""The command ``run`` for a saved policy of exits: answered here where an exit is confident, else by the rest."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partition.errors import InputError
from partition.terminal import console, show_json, steps

if TYPE_CHECKING:
    from partition.exits.policy import ExitPolicy
    from partition.plan import Plan
    from partition.remote.session import RemoteSession
    from partition.runtime.session import Array, SplitSession


def run_policy(
    folder: Path,
    open_rest: "Callable[[Plan, Path], SplitSession | RemoteSession]",
    *,
    input_file: Path | None,
    output_file: Path | None,
    check_weights: bool,
    runs: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run a saved policy on one input.

    Parameters
    ----------
    folder : pathlib.Path
    open_rest : callable
        Opens the plan of the rest, from its folder, here or on a server.
    input_file, output_file, check_weights, runs, threads, as_json
        As for the command.

    Raises
    ------
    InputError
    """
    from partition.exits.policy import REST_FOLDER, load_exit_policy
    from partition.exits.session import ExitSession
    from partition.exits.view import run_json, run_view
    from partition.remote.errors import RemoteError
    from partition.runtime.files import check_writable, read_inputs, write_outputs

    seconds = []
    with steps(2) as step:
        step.start(f"opening {folder}")
        policy = load_exit_policy(folder, check_weights=check_weights)
        if output_file is not None:
            check_writable(output_file, _output_types(policy))
        inputs = read_inputs(input_file) if input_file is not None else _random_inputs(policy)
        with ExitSession(policy, open_rest(policy.plan, folder / REST_FOLDER), threads=threads) as session:
            step.start("running")
            for number in range(runs):
                before = time.perf_counter()
                try:
                    result = session.run(inputs)
                except RemoteError as error:
                    raise InputError(str(error)) from error
                seconds.append(time.perf_counter() - before)
                step.share((number + 1) / runs)
            records = session.records
        if output_file is not None:
            write_outputs(output_file, result.outputs)
    if as_json:
        show_json(run_json(policy, result, seconds, records))
    else:
        console().print(run_view(policy, result, seconds, records, random=input_file is None))


def _output_types(policy: "ExitPolicy") -> Mapping[str, str]:
    """Return the element type of each exit's output, by the exit's name."""
    made = {head.exit: (head.output, head.part.outputs) for head in policy.heads}
    made[policy.final] = (policy.final_output, policy.plan.model.outputs)
    return {name: next(one.dtype for one in outputs if one.name == output) for name, (output, outputs) in made.items()}


def _random_inputs(policy: "ExitPolicy") -> "dict[str, Array]":
    from graph_io.inputs import random_inputs

    shapes: dict[str, Any] = {one.name: one.shape for one in policy.inputs}
    return random_inputs(shapes, {one.name: one.dtype for one in policy.inputs})
