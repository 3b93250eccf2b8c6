"""How the command line prints: names as they are, results, errors in one line, and the steps under way."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from partition.plan import Plan
    from partition.runtime.verify import Verification

CLOSED_PIPE_CODE = 141
"""128 and the number of SIGPIPE."""

_NO_WIDTH = 10_000  # columns; what is longer is wrapped between words


def console(*, stderr: bool = False) -> "Console":
    """Return a console that takes no text for markup and breaks no name: the names in a model are anybody's.

    What is no terminal has no width, unless the variable COLUMNS says one.
    """
    from rich.console import Console

    from partition.report.columns import keep_words

    class NamesConsole(Console):
        """Leaves a closed pipe with the command's own exit code; rich would take 1."""

        def print(self, *objects: Any, **options: Any) -> None:
            if self.stderr:
                super().print(*objects, **options)
                return
            for one in objects:
                keep_words(one)
            options.setdefault("crop", False)
            options.setdefault("overflow", "ignore")
            with self.capture() as captured:
                super().print(*objects, **options)
            try:
                # Tables and what is indented are filled up with spaces.
                self.file.write(re.sub(" +(?=\n)", "", captured.get()))
                self.file.flush()
            except BrokenPipeError:
                leave_closed_pipe()

        def on_broken_pipe(self) -> None:
            leave_closed_pipe()

    made = NamesConsole(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        made.width = _NO_WIDTH
    return made


class Steps:
    """The steps of a command, one after the other; silent where nobody watches."""

    def __init__(self, bar: "Progress | None", total: int) -> None:
        self._bar = bar
        self._total = total
        self._number = 0
        # A single step of unknown length has nothing to count, so its bar only moves to and fro.
        self._task = bar.add_task("", total=total if total > 1 else None, visible=False) if bar is not None else None

    def start(self, what: str) -> None:
        """Begin the next step."""
        self._number += 1
        if self._bar is not None and self._task is not None:
            text = f"{self._number}/{self._total} {what}"
            self._bar.update(self._task, description=text, completed=self._number - 1, visible=True, refresh=True)

    def known_length(self) -> None:
        """Say that the shares of the current step will be told, so that its bar can fill."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def say(self, what: str) -> None:
        """Tell what the current step is doing now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what)

    def share(self, share: float) -> None:
        """Tell how much of the current step is done, 0 to 1."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total, completed=self._number - 1 + share)


@contextmanager
def steps(total: int) -> Iterator[Steps]:
    """Show named steps and the time since the first on stderr, if that is a terminal; they vanish at the end."""
    shown = console(stderr=True)
    if not shown.file.isatty():
        yield Steps(None, total)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown, transient=True) as bar:
        yield Steps(bar, total)


def print_plan(plan: "Plan", out: Path | None, times: dict[str, float], verification: "Verification | None") -> None:
    """Print a plan, its files, and what a verification found."""
    from partition.report.table import format_bytes, plan_view

    shown = console()
    shown.print(plan_view(plan))
    shown.print(f"\nplanned in {times['plan_s']:.2f} s", end="")
    if out is not None:
        shown.print(f"; written and opened in {times['write_and_open_s']:.2f} s:")
        for part in plan.parts:
            shown.print(f"  {out / part.file}  {format_bytes(part.file_bytes or 0)}", soft_wrap=True)
            for weights in part.weights_files:
                how = format_bytes(weights.size_bytes) if weights.own else "stays as it is, read by this part"
                shown.print(f"  {out / weights.file}  {how}", soft_wrap=True)
        shown.print(f"  {out / 'plan.json'}", soft_wrap=True)
    else:
        shown.print("; nothing written (-o FOLDER writes the parts)")
    if verification is not None:
        shown.print(str(verification), style=None if verification.ok else "bold red")


def show_json(content: dict[str, Any]) -> None:
    """Print plain JSON values on stdout."""
    try:
        print(json.dumps(content, indent=2, allow_nan=False), flush=True)  # noqa: T201
    except BrokenPipeError:
        leave_closed_pipe()


def warn(text: str) -> None:
    """Print a warning as one line on stderr; what was asked for is done all the same."""
    console(stderr=True).print(f"dnn-partition: warning: {text}", soft_wrap=True)


def fail(error: object, code: int) -> int:
    """Print an error as one line on stderr and return the exit code."""
    text = " ".join(str(error).split())
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"dnn-partition: error: {text}", file=sys.stderr, flush=True)  # noqa: T201
    return code


def system_reason(error: OSError) -> str:
    """Say what the system refused where no part of the library could name it better."""
    place = f"'{error.filename}': " if error.filename else ""
    return (
        f"{place}{error.strerror or error}; "
        "check that standard output and the folder of temporary files (TMPDIR) can be written and have room"
    )


def leave_closed_pipe() -> NoReturn:
    """Exit in silence with the code of a closed pipe; typer would take 1, which means a failed verification."""
    drop_output()
    raise SystemExit(CLOSED_PIPE_CODE)


def drop_output() -> None:
    """Let go of what standard output did not take: the interpreter would complain of it again at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
