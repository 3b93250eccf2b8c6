"""The errors of this library, in one place.

Every error that the library raises on purpose is a ``ValueError`` of one of three families, one for each package,
because the packages do not know each other::

    ValueError
    ├── partition.InputError          an argument, a file or a folder that the user gave
    │   └── partition.VerificationError   the parts do not compute what the whole model computes
    ├── graph_io.ModelError           the model: not ONNX, an unknown dimension, an unknown operator, no legal cut
    └── solvers.SolverError           the problem: ill-formed, infeasible, or not for this method

``LIBRARY_ERRORS`` holds the three roots for one ``except``; the command line turns each into one line and exit code 2.
"""

from graph_io.errors import ModelError
from solvers.errors import SolverError


class InputError(ValueError):
    """An argument, a file or a folder given by the user cannot be used; the message says what to do."""


class VerificationError(InputError):
    """The parts of a plan do not compute what the whole model computes."""


LIBRARY_ERRORS: tuple[type[ValueError], ...] = (InputError, ModelError, SolverError)
