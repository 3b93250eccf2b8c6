"""Virtual environments with Triton's client and with its server: neither goes together with what we need ourselves."""

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

CLIENT = ("tritonclient[grpc,http]", "numpy")
SERVER = ("nvidia-pytriton", "onnxruntime")
_TOLD = ("tritonclient", "nvidia-pytriton", "onnxruntime", "numpy", "protobuf")


class Skipped(Exception):
    """A step cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def packages(self) -> Path:
        """Where its packages lie."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(subprocess.check_output([self.python, "-c", code], text=True).strip())

    def versions(self) -> dict[str, str]:
        """Return the versions of what matters."""
        listed = subprocess.check_output([self.python, "-m", "pip", "list", "--format=json"], stderr=subprocess.DEVNULL)
        return {one["name"]: one["version"] for one in json.loads(listed) if one["name"] in _TOLD}


def environment(folder: Path, packages: tuple[str, ...]) -> Environment:
    """Return an environment with some packages: made now, unless it is there from an earlier run.

    Raises
    ------
    Skipped
        They cannot be installed.
    """
    made = Environment(folder)
    complete = folder / "complete"
    if complete.exists() and complete.read_text(encoding="utf-8") == " ".join(packages):
        return made
    print(f"installing {', '.join(packages)} into an environment of its own", flush=True)
    venv.create(folder, with_pip=True, clear=True, symlinks=os.name != "nt")
    command = [str(made.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Skipped(f"pip cannot install {', '.join(packages)}: {_last_line(done.stderr)}")
    complete.write_text(" ".join(packages), encoding="utf-8")
    return made


def python_version() -> str:
    """Return the version of this interpreter, and so of those environments, as 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it does not say why"
