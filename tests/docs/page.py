"""Run the examples of one page in order, in one folder and one namespace, as a reader would who copies them.

What differs from the reader's desk: names such as MODEL stand for files of `tests.docs.stand_ins`; ports and hosts of
servers become free ports of this machine; a file that an earlier example left is removed before a later one writes it,
since pages show the same folder more than once. Commands run in this process through the command line's own `main`;
servers and other programs run as processes. A session's time-outs are longer than a reader's.
"""

import contextlib
import dataclasses
import doctest
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from partition import cli
from partition.remote.options import RemoteOptions
from tests.docs import listed, stand_ins
from tests.docs.blocks import ROOT, Block
from tests.docs.shell import Command, commands_of, output_of
from tests.scale import FULL

WIDTH = "100"
_PORTS = ("8000", "9000")
_WRITES = ("-o", "--out", "--output", "--triton", "--plot", "--annotate")
_SERVERS = ("serve", "emulate")
_OF_EXITS = {"exits", "calibrate-exits"}
PROCESSES = ("python", "openssl", "mkdir", "install")
"""Programs beside ours that examples may run."""
# A block that begins so is that file.
_FILE_NAME = re.compile(r"# (?P<name>[\w/]+\.py)\n")
_HASH = re.compile(r"\b[0-9a-f]{16}\b")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
_STARTS_WITHIN_S = 60
# In the full run a block may be a benchmark.
_ENDS_WITHIN_S = 7200 if FULL else 240


class ExampleError(AssertionError):
    """An example does not do what its page says."""


def is_run(page: str, command: Command) -> bool:
    """Say whether this run executes a command, if it knows how to."""
    entry = listed.listed_command(page, command.text)
    return can_run(command) if entry is None else entry.full and FULL


def can_run(command: Command) -> bool:
    """Say whether the runner knows how to execute a command."""
    return command.words[0] in ("dnn-partition", *PROCESSES)


class _LateError(BaseException):
    """A block takes too long; nothing that an example calls may take it for an error of its own."""


class PageRun:
    """One page under way."""

    def __init__(self, page: str, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "__example__"}
        self.printed = ""  # by the last block
        self.was_run = False  # the last block that could be
        self.ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.servers: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def run(self, blocks: list[Block]) -> None:
        """Run all blocks of the page; the first that fails raises `ExampleError`."""
        with contextlib.chdir(self.folder), mock.patch.dict(os.environ, self._environment(), clear=True), _patience():
            known = set(sys.modules)
            sys.path.insert(0, str(self.folder))
            try:
                given = listed.GIVEN.get(self.page, "")
                self._prepare(given)
                exec(given, self.namespace)  # noqa: S102  # what a runner of examples is for
                for block in blocks:
                    try:
                        with _in_time():
                            self._run(block)
                    except ExampleError:
                        raise
                    except BaseException as error:
                        raise ExampleError(f"{block}: {type(error).__name__}: {error}\n{self.printed}") from error
            finally:
                sys.path.remove(str(self.folder))
                for module in set(sys.modules) - known:
                    if module.partition(".")[0] in {path.stem for path in self.folder.iterdir()}:
                        del sys.modules[module]
                for port in list(self.servers):
                    self._stop(port)

    def _environment(self) -> dict[str, str]:
        dropped = ("FORCE_COLOR", "DNN_PARTITION_TOKEN")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        # A process has to find this working tree and the modules of the page, and to print what it has at once.
        path = os.pathsep.join([str(ROOT), str(self.folder)])
        return kept | {"COLUMNS": WIDTH, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}

    def _run(self, block: Block) -> None:
        kind, name = block.kind, listed.FILES.get(self.page, {}).get(block.kind)
        if name is None and (heading := _FILE_NAME.match(block.text)) is not None:
            name = heading["name"]
        if name is not None:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(block.text, encoding="utf-8")
            self._prepare(block.text)
        elif listed.listed_block(self.page, block.text) is not None and kind != "doctest":
            self.was_run = False
        elif kind == "python":
            self._prepare(block.text)
            self._python(block)
        elif kind == "doctest":
            self._prepare(block.text)
            self._doctest(block)
        elif kind == "shell":
            self._shell(block)
        elif kind == "output":
            if self.was_run:
                self._compare(block, block.text)
        else:
            raise ExampleError(f"{block}: a block of {kind!r} is neither run nor listed in tests/docs/listed.py")

    # --- Python -----------------------------------------------------------------------------------------------------

    def _python(self, block: Block) -> None:
        text = self._here("\n" * block.line + block.text)
        for port in re.findall(r"port=(\d+)", text):  # a reader would end the server of an earlier example first
            self._stop(port)
        with _captured() as printed:
            try:
                exec(compile(text, self.page, "exec"), self.namespace)  # noqa: S102
            finally:
                self.printed = printed.getvalue()
        self.was_run = True

    def _doctest(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self.namespace, self.page, self.page, block.line)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        complaints = io.StringIO()
        runner.run(test, out=complaints.write, clear_globs=False)
        if runner.failures:
            raise ExampleError(f"{block}:\n{complaints.getvalue()}")
        self.namespace.update(test.globs)
        self.printed, self.was_run = "", True

    # --- commands ---------------------------------------------------------------------------------------------------

    def _shell(self, block: Block) -> None:
        self.printed, self.was_run = "", False
        for command in commands_of(block.text):
            if is_run(self.page, command):
                self._prepare(command.text)
                self._command(block, command)
                self.was_run = True
            else:
                self._leave(block, command)
        shown = output_of(block.text)
        if shown and self.was_run:
            self._compare(block, shown)

    def _leave(self, block: Block, command: Command) -> None:
        """Do what the table says in the place of a command that is not run."""
        entry = listed.listed_command(self.page, command.text)
        if entry is None:
            raise ExampleError(f"{block}: {command.text!r} is neither run nor listed in tests/docs/listed.py")
        if entry.leaves is not None:
            self._prepare(command.text)
            words = self._words(list(command.words))
            self._remove_what_is_written(words, command.stdout_file)
            entry.leaves(self.folder, words)
        for other in commands_of(entry.instead):
            self._command(block, other)

    def _command(self, block: Block, command: Command) -> None:
        entry = listed.listed_command(self.page, command.text)
        words = self._words([*command.words, *(shlex.split(entry.adding) if entry is not None else ())])
        self._remove_what_is_written(words, command.stdout_file)
        variables = {name: self._here(value) for name, value in command.variables}
        background = command.background or (words[0] == "dnn-partition" and words[1] in _SERVERS)
        with mock.patch.dict(os.environ, variables):
            if background:
                self._start(block, words)
                return
            if words[0] == "dnn-partition":
                code, printed, complaints = _in_process(words[1:])
            elif words[0] in PROCESSES:
                program = sys.executable if words[0] == "python" else words[0]
                done = subprocess.run(
                    [program, *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
                )
                code, printed, complaints = done.returncode, done.stdout, done.stderr
            else:
                raise ExampleError(f"{block}: {command.text!r} is no command that examples may run")
        if code != 0:
            raise ExampleError(f"{block}: {command.text!r} ended with {code}: {complaints or printed}")
        if command.stdout_file is not None:
            Path(command.stdout_file).write_text(printed, encoding="utf-8")
        else:
            self.printed += printed

    def _start(self, block: Block, words: list[str]) -> None:
        """Start a server, and wait until it says where it listens."""
        log = self.folder / f".server-{len(self.servers)}-{time.monotonic_ns()}.txt"
        option, usual = ("--port", "8000") if words[1] == "serve" else ("--listen", "127.0.0.1:9000")
        if option not in words:
            words = [*words, option, self._here(usual)]
        port = words[words.index(option) + 1].rpartition(":")[2]
        self._stop(port)
        with log.open("wb") as stdout:
            process = subprocess.Popen([sys.executable, "-m", "partition", *words[1:]], stdout=stdout, stderr=stdout)
        self.servers[port] = (process, log)
        deadline_s = time.monotonic() + _STARTS_WITHIN_S
        while f":{port}" not in (said := log.read_text(encoding="utf-8")):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise ExampleError(f"{block}: {shlex.join(words)} does not listen: {said}")
            time.sleep(0.02)
        self.printed += said

    def _stop(self, port: str) -> None:
        process, _ = self.servers.pop(port, (None, None))
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # --- what differs from the reader's desk --------------------------------------------------------------------------

    def _words(self, words: list[str]) -> list[str]:
        model = "sequence.onnx" if "--dim" in words else "model.onnx"
        stands_for = listed.PLACEHOLDERS | {"MODEL": model} | (listed.OF_EXITS if set(words) & _OF_EXITS else {})
        return [self._here(stands_for.get(word, word)) for word in words]

    def _here(self, text: str) -> str:
        """Put this machine and its free ports in the place of hosts and ports."""
        text = re.sub(r"(?<=//)(?:server|triton)(?=:)|^0\.0\.0\.0$", "127.0.0.1", text)
        return re.sub(r"(?<![\w.])(?:8000|9000)\b", lambda found: self.ports[found[0]], text)

    def _prepare(self, text: str) -> None:
        """Write the stand-ins that a block names and that are not there yet."""
        for word in re.findall(r"[\w./-]+", text):
            text += f" {listed.PLACEHOLDERS.get(word, listed.PLACEHOLDERS.get(f'{word},T3', ''))}"
        if "MODEL" in text:
            text += " model.onnx sequence.onnx"
        if "exits" in text:
            text += f" {' '.join(listed.OF_EXITS.values())}"
        for name, write in stand_ins.WRITERS.items():
            path = self.folder / name
            if not path.exists() and re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w-])", text):
                write(path)

    def _remove_what_is_written(self, words: list[str], stdout_file: str | None) -> None:
        if "--force" in words:
            return
        written = [words[at + 1] for at, word in enumerate(words[:-1]) if word in _WRITES]
        for name in [*written, *([] if stdout_file is None else [stdout_file])]:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    # --- shown output -------------------------------------------------------------------------------------------------

    def _compare(self, block: Block, shown: str) -> None:
        """Compare what a page shows with what was printed: in this order, with anything where `...` stands."""
        printed = _comparable(self._there(self.printed), varies=block.varies)
        at = 0
        for piece in re.split(r"(?:^|(?<=\s))\.\.\.(?=\s|$)", shown):
            text = _comparable(piece, varies=block.varies)
            found = printed.find(text, at)
            if found < 0:
                raise ExampleError(f"{block} shows:\n{piece}\nbut what was printed is:\n{self.printed}")
            at = found + len(text)

    def _there(self, text: str) -> str:
        for port, here in self.ports.items():
            text = text.replace(f":{here}", f":{port}")
        return text


def _comparable(text: str, *, varies: bool) -> str:
    """Take out what differs between two runs: hashes, the width of a table, and measured numbers where they vary."""
    text = re.sub("─+", "─", _HASH.sub("HASH", text)).replace("0.0.0.0", "127.0.0.1")
    if varies:
        text = re.sub(r"\bN (ms|us|s|[kMG]bit/s)(?=\W|$)", "N", _NUMBER.sub("N", text))
    return " ".join(text.split())


@contextlib.contextmanager
def _in_time(seconds: int = _ENDS_WITHIN_S) -> Iterator[None]:
    """End a block that would hold up all tests, where the system has a timer for that."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_: object) -> None:
        raise _LateError(f"it did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Let a session wait longer than a reader's would: other tests may have the processors."""
    fields = {field.name: field.default for field in dataclasses.fields(RemoteOptions)}
    fields["shortest_timeout_s"] = fields["longest_timeout_s"]
    with mock.patch.object(RemoteOptions.__init__, "__defaults__", tuple(fields.values())):
        yield


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield printed


def _in_process(words: list[str]) -> tuple[int, str, str]:
    """Run the command line, as far as its process would: its exit code, and what it prints."""
    complaints = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["dnn-partition", *words]),
        _captured() as printed,
        contextlib.redirect_stderr(complaints),
    ):
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return code, printed.getvalue(), complaints.getvalue()


def _free_ports(count: int) -> list[str]:
    """Return free ports, all of them held until the last is found: else one might be found twice."""
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in found]
