"""What is half there while something is saved, and how it is tidied up: by whoever saves, or by the parent process.

A process that is killed tidies nothing up. The command therefore notes, in a folder that its parent knows, what it is
about to make; see `partition.command`. As a library nothing is noted.
"""

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from partition.errors import InputError

_ENDING = ".unfinished.json"
_notes: Path | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A draft of a file, or a workspace: a hidden folder from which files or folders go to their place, all or none.

    Attributes
    ----------
    path : pathlib.Path
        Of the draft or the workspace itself, on the same disk as its place.
    place : pathlib.Path
        The folder that the names of a workspace go to; it may not be there yet.
    names : tuple of str
        What goes there from `new`; none for the draft of a file.
    parents : tuple of pathlib.Path
        Folders that are made for it, innermost first; they stay if they hold something at the end.
    """

    path: Path
    place: Path
    names: tuple[str, ...] = ()
    parents: tuple[Path, ...] = ()

    @property
    def new(self) -> Path:
        """Where a workspace holds what will go to its place."""
        return self.path / "new"

    @property
    def _former(self) -> Path:
        """Where what was in that place waits until everything new is there; made when the moving begins."""
        return self.path / "former"

    def move_into_place(self, replaced: Sequence[str]) -> None:
        """Move everything to its place, after what is `replaced` there was moved away; `tidy` undoes half of that.

        Raises
        ------
        OSError
        """
        self._former.mkdir()
        for name in replaced:
            (self.place / name).rename(self._former / name)
        for name in self.names:
            (self.new / name).rename(self.place / name)

    def tidy(self) -> None:
        """Put back what was moved away, but not replaced by everything new, and remove the rest.

        Which of it happened is read off the folders, so that another process can do this at any moment.

        Raises
        ------
        InputError
            It cannot be put back; then it stays where the message says.
        """
        try:
            self._put_back()
        except OSError as error:
            folder, former = (self.place, self._former)
            if len(self.names) == 1:
                folder, former = folder / self.names[0], former / self.names[0]
            raise InputError(
                f"output folder '{folder}' could not be replaced ({error.strerror or error}); "
                f"its earlier plan is now at '{former}', move it back from there"
            ) from error
        # Something else may stand in the way by now, or nothing was made yet.
        with suppress(OSError, ValueError):
            if self.path.is_dir():
                import shutil

                shutil.rmtree(self.path, ignore_errors=True)
            else:
                self.path.unlink()
        for parent in self.parents:
            with suppress(OSError):
                parent.rmdir()

    def _put_back(self) -> None:
        moved = [name for name in self.names if not os.path.lexists(self.new / name)]
        if len(moved) == len(self.names) or not self._former.is_dir():
            return
        for name in moved:
            (self.place / name).rename(self.new / name)
        for entry in self._former.iterdir():
            if os.path.lexists(self.place / entry.name):
                raise FileExistsError(17, f"another '{entry.name}' has come up there")
            entry.rename(self.place / entry.name)
        # From now on nothing is away, whatever else of the workspace is removed before the next look at it.
        self._former.rmdir()


@contextmanager
def tidied(unfinished: Unfinished) -> Iterator[None]:
    """Tidy up at the end, errors and Ctrl-C included; enter this before anything is made.

    Raises
    ------
    InputError
        See `Unfinished.tidy`.
    """
    note = _write_note(unfinished)
    try:
        yield
    finally:
        try:
            unfinished.tidy()
        finally:
            if note is not None:
                with suppress(OSError):
                    note.unlink()


def note_in(folder: Path) -> None:
    """Let this process note from now on, in a folder that its parent knows, what it would have to tidy up."""
    global _notes
    _notes = folder


def _write_note(unfinished: Unfinished) -> Path | None:
    if _notes is None:
        return None
    note = _notes / f"{secrets.token_hex(8)}{_ENDING}"
    # A full disk there is no reason not to save elsewhere.
    with suppress(OSError):
        content = {
            "path": os.path.abspath(unfinished.path),
            "place": os.path.abspath(unfinished.place),
            "names": unfinished.names,
            "parents": [os.path.abspath(parent) for parent in unfinished.parents],
        }
        note.write_text(json.dumps(content), encoding="utf-8")
    return note


def tidy_noted(folder: Path) -> list[str]:
    """Tidy up what a process noted in a folder before it ended; return what could not be put back, a line each."""
    problems = []
    for note in sorted(folder.glob(f"*{_ENDING}")):
        try:
            content = json.loads(note.read_text(encoding="utf-8"))
            parents = tuple(Path(parent) for parent in content["parents"])
            left = Unfinished(Path(content["path"]), Path(content["place"]), tuple(content["names"]), parents)
        except (OSError, ValueError, KeyError, TypeError):
            # It was being written when the process ended, and nothing was made yet.
            continue
        try:
            left.tidy()
        except InputError as error:
            problems.append(str(error))
    return problems
