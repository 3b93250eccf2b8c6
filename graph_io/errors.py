"""The one error of this package."""


class ModelError(ValueError):
    """A model cannot be used, or not in the way asked; the message names the object and what to do."""
