"""Sequences of lengths for a simulation: read from a file, or drawn from a distribution that a text names."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError

_LEGAL = (
    "give a file of whole numbers, or 'gamma:mean=11,deviation=4', 'lognormal:mean=230,deviation=170', "
    "'uniform:least=1,most=80' or 'constant:length=20'"
)
_FIGURES = {
    "gamma": ("mean", "deviation"),
    "lognormal": ("mean", "deviation"),
    "uniform": ("least", "most"),
    "constant": ("length",),
}
_LARGEST = 1e9
# Out of so many draws one at the least has to be a legal length.
_MOST_ROUNDS = 100
_SHOWN = 40


def read_lengths(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """Read lengths from a text file.

    Parameters
    ----------
    path : path-like
        Whole numbers of 1 or more, separated by blanks, commas or line ends; what follows a ``#`` says nothing.

    Raises
    ------
    InputError
        The file cannot be read, holds no number, or something else; the message gives the line.
    """
    source = f"lengths '{os.fspath(path)}'"
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InputError(f"{source} cannot be read: {reason}; {_LEGAL}") from error
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            if not (word.isascii() and word.isdigit() and len(word) <= 10 and 1 <= int(word) <= _LARGEST):
                shown = word if len(word) <= _SHOWN else f"{word[:_SHOWN]}..."
                raise InputError(f"{source}, line {number}: got {shown!r}, expected whole numbers from 1 to 1e9")
            found.append(int(word))
    if not found:
        raise InputError(f"{source} holds no length; {_LEGAL}")
    return np.array(found, dtype=np.int64)


def draw_lengths(text: str, count: int, *, seed: int, least: int, most: int) -> NDArray[np.int64]:
    """Draw lengths from a distribution.

    Parameters
    ----------
    text : str
        ``gamma:mean=,deviation=``, ``lognormal:mean=,deviation=``, ``uniform:least=,most=`` or ``constant:length=``.
        Mean and deviation are those of the distribution before it is rounded and truncated.
    count : int
        1 or more.
    seed : int
        0 or more.
    least, most : int
        Draws that round to something outside are drawn again: nothing piles up at the ends.

    Returns
    -------
    (count,) int64

    Raises
    ------
    InputError
        An unknown distribution or figure, one that is missing or out of range, or hardly a draw within the range.
    """
    name, _, rest = text.partition(":")
    if name not in _FIGURES:
        raise InputError(f"lengths {text!r} name no distribution; {_LEGAL}")
    figures = _figures(text, name, rest)
    if not 1 <= count <= 100_000_000:
        raise InputError(f"count is {count}; give 1 to 100 million inputs")
    if seed < 0:
        raise InputError(f"seed is {seed}; give a whole number of 0 or more")
    if name == "constant":
        return np.full(count, _whole(text, "length", figures["length"]), dtype=np.int64)
    generator = np.random.default_rng(seed)
    if name == "uniform":
        low, high = _whole(text, "least", figures["least"]), _whole(text, "most", figures["most"])
        if low > high:
            raise InputError(f"lengths {text!r}: least is above most; exchange them")
        return generator.integers(low, high + 1, count)
    draw = _gamma(generator, **figures) if name == "gamma" else _lognormal(generator, **figures)
    found = np.empty(0, dtype=np.int64)
    for _ in range(_MOST_ROUNDS):
        drawn = np.rint(draw(max(count, 1000)))
        found = np.concatenate([found, drawn[(drawn >= least) & (drawn <= most)].astype(np.int64)])
        if len(found) >= count:
            return found[:count]
    raise InputError(
        f"lengths {text!r}: hardly any lies within {least} to {most}, which is what was measured; give another mean, "
        "or measure a longer range"
    )


def _figures(text: str, name: str, rest: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in rest.split(","):
        key, separator, value = entry.partition("=")
        key = key.strip()
        if not separator or key not in _FIGURES[name] or key in found:
            raise InputError(f"lengths {text!r}: {name} takes {', '.join(_FIGURES[name])}, each once; {_LEGAL}")
        try:
            found[key] = float(value)
        except ValueError:
            found[key] = math.nan
        if not 0 < found[key] <= _LARGEST:
            raise InputError(f"lengths {text!r}: {key} is {value.strip()!r}; give a number above 0, at most 1e9")
    missing = next((one for one in _FIGURES[name] if one not in found), None)
    if missing is not None:
        raise InputError(f"lengths {text!r}: {missing} is missing; {_LEGAL}")
    return found


def _whole(text: str, key: str, value: float) -> int:
    if value != round(value) or value < 1:
        raise InputError(f"lengths {text!r}: {key} is {value!r}; give a whole number of 1 or more")
    return round(value)


def _gamma(generator: np.random.Generator, mean: float, deviation: float) -> Callable[[int], NDArray[np.float64]]:
    shape = (mean / deviation) ** 2
    return lambda count: generator.gamma(shape, mean / shape, count)


def _lognormal(generator: np.random.Generator, mean: float, deviation: float) -> Callable[[int], NDArray[np.float64]]:
    variance = math.log1p((deviation / mean) ** 2)
    return lambda count: generator.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), count)
