"""The one error of this package, and what is worth quoting of the runtime's own."""

import re

# Status code and kind, such as "[ONNXRuntimeError] : 10 : INVALID_GRAPH :".
_STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
# Only ever one of our temporary files.
_MODEL_FILE = re.compile(r"Load model from .*? failed:")
# The line of the runtime's source, with the signature of the function around it.
_SOURCE_LINE = re.compile(r"\S+\.(?:cc|h):\d+ [^()]*\((?:[^()]|\([^()]*\))*\)(?: const)? ")


class ModelError(ValueError):
    """A model cannot be used, or not in the way asked; the message, of one line, names the object and what to do."""

    def __init__(self, message: str = "") -> None:
        # A name in a model may hold anything, line breaks and terminal codes too.
        super().__init__("".join(one if one.isprintable() else repr(one)[1:-1] for one in message))


def runtime_reason(error: BaseException) -> str:
    """Return the first line of the runtime's message without its codes, our temporary paths and its source lines."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    for noise in (_STATUS, _MODEL_FILE, _SOURCE_LINE):
        text = noise.sub("", text)
    return text.split("failed:")[-1].strip(" :")
