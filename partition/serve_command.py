"""The command ``dnn-partition serve``: saved parts behind the Open Inference Protocol, until it is asked to end."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from partition.arguments import TOKEN_VARIABLE, JsonOption
from partition.errors import InputError
from partition.terminal import console, show_json
from partition.units import parse_duration, parse_size

if TYPE_CHECKING:
    from partition.serve import Server

_LOCAL = ("127.0.0.1", "::1", "localhost")
_LEVELS = ("info", "warning", "error")
# A second Ctrl-C ends at once, but one press of the keys may come twice.
_ONE_PRESS_S = 0.3


def serve(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="OUT...", help="Folders of `split`, `parts` or `exits`.", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    all_parts: Annotated[
        bool, typer.Option("--all-parts", help="Serve every run of consecutive parts, for clients that move the cut.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the runtime, of each part.", show_default="the plan's server's")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Inferences at once.", show_default="processors / threads, or 1")
    ] = None,
    queue: Annotated[int, typer.Option(min=0, help="Requests that wait; beyond it the answer is 503.")] = 32,
    queue_timeout: Annotated[str, typer.Option(metavar="TIME", help="Longest wait in the queue.")] = "10s",
    max_body: Annotated[str, typer.Option(metavar="SIZE", help="Of one request.")] = "64MiB",
    max_waiting: Annotated[str, typer.Option(metavar="SIZE", help="Of all requests in memory.")] = "512MiB",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the token clients must send.", show_default=f"${TOKEN_VARIABLE}, or none"),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="PEM file; then TLS alone is spoken.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="PEM file of its key.", show_default="in the certificate's file")
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            metavar="MODULE:OBJECT",
            help="Decodes inputs that plans send encoded, such as my_package.codecs:jpeg; repeatable.",
            show_default=False,
        ),
    ] = None,
    compression: Annotated[
        bool | None,
        typer.Option(
            "--compression/--no-compression",
            help="Take and give bodies compressed by zstd, where clients want that.",
            show_default="where zstandard is installed",
        ),
    ] = None,
    drain_timeout: Annotated[str, typer.Option(metavar="TIME", help="For what runs at SIGTERM.")] = "30s",
    log_level: Annotated[
        str, typer.Option(help="'info': a JSON line on stderr for each request; 'warning' or 'error': less.")
    ] = "warning",
    as_json: JsonOption = False,
) -> None:
    """Serve saved parts over HTTP (KServe V2) until Ctrl-C."""
    from partition.exits.policy import served_folder
    from partition.serve import Limits, Server
    from partition.serve.logs import log_to_stderr
    from partition.v2.input_codec import load_codec

    if log_level not in _LEVELS:
        raise InputError(f"--log-level is {log_level!r}; legal are {', '.join(_LEVELS)}")
    limits = Limits(
        concurrency=concurrency,
        queue=queue,
        queue_timeout_s=parse_duration(queue_timeout, what="--queue-timeout"),
        body_bytes=parse_size(max_body, what="--max-body"),
        waiting_bytes=parse_size(max_waiting, what="--max-waiting"),
        drain_timeout_s=parse_duration(drain_timeout, what="--drain-timeout"),
    )
    token = _token(token_file)
    log_to_stderr(log_level)
    server = Server(
        [served_folder(folder) for folder in folders],
        host=host,
        port=port,
        all_parts=all_parts,
        threads=threads,
        token=token,
        certificate=tls_certificate,
        key=tls_key,
        limits=limits,
        codecs=[load_codec(reference) for reference in codec or ()],
        compression=compression,
    )
    with _asked_to_end() as asked:
        server.start()
        _show(server, token=token is not None, host=host, as_json=as_json)
        asked.wait()
        if not server.stop():
            console(stderr=True).print("dnn-partition: some requests did not end within --drain-timeout; left them")


def _token(path: Path | None) -> str | None:
    """Read the token from a file or the environment: in the arguments every user of the machine could see it."""
    if path is None:
        return os.environ.get(TOKEN_VARIABLE)
    try:
        return path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"token file '{path}' holds more than printable ASCII; write a token into it") from error
    except OSError as error:
        raise InputError(f"token file '{path}' cannot be read: {error.strerror or error}") from error


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set; a second Ctrl-C ends at once."""
    asked = threading.Event()
    first_s = float("inf")

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        now_s = time.monotonic()
        if number == signal.SIGINT and now_s - first_s > _ONE_PRESS_S:
            raise KeyboardInterrupt
        first_s = min(first_s, now_s)
        asked.set()

    former = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _show(server: "Server", *, token: bool, host: str, as_json: bool) -> None:
    if as_json:
        models = [model.metadata() for model in server.models.values()]
        show_json({"url": server.url, "models": models, "compression": ["zstd"] if server.compression.enabled else []})
        return
    shown = console()
    count = len(server.models)
    shown.print(f"serving {count} model{'s' * (count != 1)} on {server.url}", soft_wrap=True)
    for model in server.models.values():
        described = ", ".join(
            f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in model.inputs.values()
        )
        shown.print(f"  {model.name}: {described}", soft_wrap=True)
    if not token and host not in _LOCAL:
        shown.print(
            f"note: no token is asked for (--token-file or ${TOKEN_VARIABLE}): whoever reaches it may use it",
            soft_wrap=True,
        )
    how = "yes, for clients that ask (zstd)" if server.compression.enabled else f"no ({server.compression.reason})"
    shown.print(f"compression: {how}", soft_wrap=True)
    shown.file.flush()
