"""The errors of this package, one small tree.

```
ValueError
└── SolverError          everything below
    ├── ProblemError     the problem, or a placement for it, is ill-formed
    ├── InfeasibleError  the problem is well-formed and no placement satisfies it
    └── MethodError      this method does not take this problem; another one may
```
"""


class SolverError(ValueError):
    """Root of every error that this package raises on purpose."""


class ProblemError(SolverError):
    """The problem or the placement is ill-formed; the message names the layer or tensor."""


class InfeasibleError(SolverError):
    """No placement obeys the forbidden machines and the limit on server visits."""


class MethodError(SolverError):
    """The method refuses this problem and says why; ``method="auto"`` picks the next one."""
