"""Compiles `rr_py_ws._speed` while a wheel is built; without a compiler the wheel is made without it.

One library, for the limited API of Python 3.11, serves all later versions.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = [Path(__file__).parent / "rr_py_ws" / name for name in ("_speed.c", "_flush.c")]
LIBRARY = "rr_py_ws/_speed.abi3.so"
FLAGS = ["-O3", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter"]


def compile_to(library: Path, *flags: str) -> None:
    """Compile the native part.

    Args:
        library: the file that is written.
        flags: for the compiler, beside its usual ones.

    Raises:
        OSError: there is no compiler.
        subprocess.CalledProcessError: the compiler failed; its words are in `stderr`.
    """
    wanted = [word for name in ("CFLAGS", "LDFLAGS") for word in shlex.split(os.environ.get(name, ""))]
    include = f"-I{sysconfig.get_path('include')}"
    command = [*_compiler(), *FLAGS, *wanted, *flags, include, *map(str, SOURCES), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _compiler() -> list[str]:
    """What makes a shared library: as the environment says, as for other packages, or as Python was built."""
    if "LDSHARED" not in os.environ and os.environ.get("CC"):
        return [*shlex.split(os.environ["CC"]), "-shared"]
    return shlex.split(os.environ.get("LDSHARED") or sysconfig.get_config_var("LDSHARED") or "cc -shared")


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the library to a wheel, and its platform to the wheel's name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, if there is a compiler and nobody has asked for pure Python."""
        if version == "editable" or os.environ.get("RR_PY_WS_PURE", "") not in ("", "0"):
            return
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "_speed.abi3.so"
        try:
            compile_to(library)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = str(getattr(error, "stderr", "") or error).strip()
            self.app.display_warning(f"rr-py-ws is built without its native part: {reason}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["force_include"][str(library)] = LIBRARY
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform}"
