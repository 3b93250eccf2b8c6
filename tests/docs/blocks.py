"""Fenced blocks of Markdown pages: where they stand, and what kind of example each one is."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^`\n]*)$")
VARIES = "<!-- numbers vary -->"
"""On a line of its own in front of shown output: its numbers are measured, so only the words are compared."""

SHELLS = ("sh", "bash", "shell", "console")
# An untagged block that begins with one of these is one of commands.
PROGRAMS = ("dnn-partition", "python", "python3", "make", "pip", "ssh", "scp", "rsync", "curl", "sudo", "podman")
PROGRAMS += ("docker", "tritonserver", "git", "export", "openssl", "mkdir", "cp", "cat", "echo", "systemctl")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: str  # relative to the repository: docs/files.md
    line: int  # of its opening fence, from 1
    language: str
    text: str
    varies: bool = False  # numbers of this output are measured

    @property
    def kind(self) -> str:
        """Say what it is: doctest, python, shell, output or the language of a file."""
        if self.language == "python":
            return "doctest" if ">>>" in self.text else "python"
        if self.language in SHELLS or (not self.language and self._first_word() in PROGRAMS):
            return "shell"
        return "output" if self.language in ("", "text") else self.language

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def _first_word(self) -> str:
        words = self.text.split()
        return words[1] if words[:1] == ["$"] and len(words) > 1 else words[0] if words else ""


def path_of(page: str) -> Path:
    """Return where a page lies."""
    return ROOT / page


def pages() -> list[str]:
    """Return README.md and all pages of docs/."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def blocks_of(page: str, text: str) -> list[Block]:
    """Return the fenced blocks of a page, in order.

    Raises
    ------
    ValueError
        A block that never ends.
    """
    found: list[Block] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        closing = next((end for end in range(at + 1, len(lines)) if lines[end].strip() == opening["ticks"]), None)
        if closing is None:
            raise ValueError(f"{page}:{at + 1}: this block never ends")
        before = next((line.strip() for line in reversed(lines[:at]) if line.strip()), "")
        content = textwrap.dedent("\n".join(lines[at + 1 : closing])) + "\n"
        found.append(Block(page, at + 1, opening["language"].strip(), content, before == VARIES))
        at = closing + 1
    return found


def inline_commands(text: str) -> list[str]:
    """Return the code spans of a page that are commands of ours: ``dnn-partition NAME ...``, ``python -m ...``."""
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", outside))
    return [span for span in spans if span.startswith(("dnn-partition ", "python -m "))]
