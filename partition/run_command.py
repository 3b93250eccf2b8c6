"""The command ``run``: saved parts in this process, or those of the server on a server."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partition.arguments import (
    TOKEN_VARIABLE,
    CheckWeightsOption,
    ForceOption,
    JsonOption,
    PlanArgument,
    ThreadsOption,
    TimingOption,
    check_output_file,
    check_timing,
    require_equal,
)
from partition.errors import InputError
from partition.terminal import console, show_json, steps

if TYPE_CHECKING:
    from partition.plan import Runnable
    from partition.remote.records import RunRecord
    from partition.remote.session import RemoteSession
    from partition.runtime.session import SplitSession
    from partition.v2.input_codec import InputCodec


def run(
    folder: PlanArgument,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", "-i", help=".npz file with one array per input.", show_default="random inputs"),
    ] = None,
    output_file: Annotated[Path | None, typer.Option("--output", help="New .npz file for the outputs.")] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help=f"URL of a server of this folder: its parts run there. Its token is read from {TOKEN_VARIABLE}.",
            show_default="all parts run here",
        ),
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file that vouches for the server.")] = None,
    hold: Annotated[
        str, typer.Option(help="'all': finish here what the server does not answer; 'own': open only our parts.")
    ] = "all",
    adapt: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="Follow the network, where the plan was made for that.")
    ] = True,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            metavar="INPUT=MODULE:OBJECT",
            help="Encoder and decoder of an input that the plan sends encoded; repeatable.",
            show_default=False,
        ),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(
            metavar="zstd",
            help="Compress messages on the way, without loss, where the server takes that and it pays.",
            show_default="messages as they are",
        ),
    ] = None,
    require_server: Annotated[
        bool, typer.Option("--require-server", help="Fail if the server does not compute its parts of a run.")
    ] = False,
    check_weights: CheckWeightsOption = False,
    runs: Annotated[int, typer.Option(min=1, help="How often to run; the median time is shown.")] = 1,
    verify: Annotated[bool, typer.Option("--verify", help="Compare with the whole model.")] = False,
    timing: TimingOption = False,
    model: Annotated[Path | None, typer.Option(help="The whole model, if it has moved.")] = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run saved parts, here or also on a server."""
    from partition.exits.policy import is_policy_folder
    from partition.exits_run_command import run_policy
    from partition.model_parts import ModelParts
    from partition.plan import Plan
    from partition.remote.errors import RemoteError
    from partition.report.execution import execution_json, execution_view
    from partition.runtime.files import check_writable, default_inputs, read_inputs, write_outputs
    from partition.runtime.verify import verify_plan
    from partition.saved import load_saved

    check_timing(timing, verify)
    if server is None and (
        ca_file is not None or hold != "all" or not adapt or compression is not None or require_server
    ):
        raise InputError(
            "--ca-file, --hold, --no-adapt, --require-server and --compression belong to --server; "
            "give that, too, or leave them out"
        )
    if server is not None and verify:
        raise InputError("--verify compares parts that run here; leave out --server, or --verify")
    if codec and verify:
        raise InputError("--verify compares with the whole model, which gets its inputs as they are; leave out --codec")
    codecs = _codecs(codec or [])
    if output_file is not None:
        check_output_file(output_file, "output file", force=force)
    if is_policy_folder(folder):
        if verify or model is not None:
            raise InputError(
                f"--verify and --model are for plans, and '{folder}' holds a policy of exits; leave them out"
            )
        if require_server:
            raise InputError(
                f"--require-server is for plans, and '{folder}' holds a policy of exits, which may answer here; "
                "leave it out"
            )

        def open_rest(plan: Plan, rest: Path) -> "SplitSession | RemoteSession":
            return _session(
                plan, rest, server, ca_file, hold, adapt=adapt, compression=compression, codecs=codecs, threads=threads
            )

        run_policy(
            folder,
            open_rest,
            input_file=input_file,
            output_file=output_file,
            check_weights=check_weights,
            runs=runs,
            threads=threads,
            as_json=as_json,
        )
        return
    seconds = []
    records = []
    explained = []
    verification = None
    with steps(2 + verify) as step:
        step.start(f"opening {folder}")
        plan = load_saved(folder, check_weights=check_weights)
        if output_file is not None:
            check_writable(output_file, {one.name: one.dtype for one in plan.model.outputs})
        if timing and isinstance(plan, ModelParts):
            raise InputError(f"--timing compares with a prediction, and parts ('{folder}') have none; leave it out")
        inputs = read_inputs(input_file) if input_file is not None else default_inputs(plan)
        with _session(
            plan, folder, server, ca_file, hold, adapt=adapt, compression=compression, codecs=codecs, threads=threads
        ) as session:
            step.start("running")
            for number in range(runs):
                before = time.perf_counter()
                try:
                    outputs = session.run(inputs)
                except RemoteError as error:
                    raise InputError(str(error)) from error
                seconds.append(time.perf_counter() - before)
                if require_server:
                    _require_server(session.records[-1])  # type: ignore[union-attr]
                if as_json and isinstance(plan, Plan):
                    explained.append(plan.explain_run(session))
                step.share((number + 1) / runs)
            if server is not None:
                records = list(session.records)  # type: ignore[union-attr]
        if output_file is not None:
            write_outputs(output_file, outputs)
        if verify:
            step.start("running the whole model")
            verification = verify_plan(
                plan, model, inputs=[inputs], seed=0, tolerance=None, threads=threads, timing=timing
            )
    if as_json:
        show_json(execution_json(plan, outputs, seconds, verification, records, explained))
    else:
        shown = execution_view(plan, outputs, seconds, verification, random=input_file is None, records=records)
        console().print(shown)
    require_equal(verification)


def _session(
    plan: "Runnable",
    folder: Path,
    server: str | None,
    ca_file: Path | None,
    hold: str,
    *,
    adapt: bool,
    compression: str | None,
    codecs: "dict[str, InputCodec]",
    threads: int | None,
) -> "SplitSession | RemoteSession":
    from partition.plan import Plan
    from partition.remote.errors import RemoteError
    from partition.remote.options import RemoteOptions

    if isinstance(plan, Plan) and server is None:
        return plan.session(codecs=codecs, threads=threads)
    if codecs and not isinstance(plan, Plan):
        raise InputError(f"parts ('{folder}') send nothing, so nothing is encoded; leave out --codec")
    if server is None:
        return plan.session(threads=threads)
    if not isinstance(plan, Plan):
        raise InputError(f"parts ('{folder}') say nothing of machines, so none can run on a server; split the model")
    options = RemoteOptions(hold=hold, adapt=adapt, compression=compression)  # type: ignore[arg-type]  # checked there
    token = os.environ.get(TOKEN_VARIABLE)
    try:
        return plan.session(
            server=server,
            token=token,
            ca_file=None if ca_file is None else str(ca_file),
            options=options,
            codecs=codecs,
            threads=threads,
        )
    except RemoteError as error:
        raise InputError(str(error)) from error


def _require_server(record: "RunRecord") -> None:
    from partition.report.execution import reason_of_staying

    if record.fault is not None or not record.on_server:
        raise InputError(
            f"run {record.number} was finished without the server: {reason_of_staying([record])}; "
            "see to the server, or leave out --require-server"
        )


def _codecs(options: list[str]) -> "dict[str, InputCodec]":
    from partition.v2.input_codec import load_codec

    found = {}
    for text in options:
        # Names of tensors may hold anything, those of modules no "=".
        name, equals, reference = text.rpartition("=")
        if not equals or not name or name in found:
            raise InputError(f"--codec is {text!r}; give INPUT=MODULE:OBJECT, once for each input")
        found[name] = load_codec(reference, f"--codec for '{name}'")
    return found
