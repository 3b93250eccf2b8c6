"""Lines of a shell block as commands: comments, continued lines, `&` and `>` are what the examples use of a shell."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command of an example."""

    text: str  # as the page has it, on one line, without comment and prompt
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()  # NAME=VALUE in front of it
    stdout_file: str | None = None
    background: bool = False


def commands_of(text: str) -> list[Command]:
    """Return the commands of a shell block; lines without the prompt, in a block with prompts, are output.

    Raises
    ------
    ValueError
        Something of the shell that these examples do without: pipes, substitutions, several commands on a line.
    """
    prompted = any(line.startswith("$ ") for line in text.splitlines())
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if prompted and not line.startswith("$ "):
            continue
        command = _command(line.removeprefix("$ "))
        if command is not None:
            found.append(command)
    return found


def output_of(text: str) -> str:
    """Return what a block with prompts shows as output; an empty string without prompts."""
    lines = text.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return ""
    return "\n".join(line for line in lines if not line.startswith("$ "))


def _command(line: str) -> Command | None:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.commenters = ""
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word.startswith("#"):
            break
        words.append(word)
    if not words:
        return None
    background = words[-1] == "&"
    if background:
        words.pop()
    stdout_file = None
    if ">" in words[:-1]:
        if words[-2] != ">":
            raise ValueError(f"{line!r}: only `> FILE` at the end of a command is known here")
        stdout_file = words.pop()
        words.pop()
    odd = next((word for word in words if word and set(word) <= set("();<>|&")), None)
    if odd is not None or "$(" in line:
        raise ValueError(
            f"{line!r} uses {odd or '$('!r} of the shell, which is not known here; write it as plain lines"
        )
    variables = []
    while words and "=" in words[0] and words[0].partition("=")[0].isidentifier():
        name, _, value = words.pop(0).partition("=")
        variables.append((name, value))
    text = " ".join(words) + (f" > {stdout_file}" if stdout_file else "") + (" &" if background else "")
    return Command(text, tuple(words), tuple(variables), stdout_file, background)
