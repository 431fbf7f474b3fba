"""annexd-shell as `annexd build-shell` compiles it, and its Python half."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from annexd.app.building import compilation
from annexd.client import annexd_shell

PYTHON_SHELL = Path(annexd_shell.__file__)
"""The other program, which does all of it."""


@functools.cache
def compiled_shell(*options: str) -> Path:
    """
    Where it is, until this process ends; ``options`` are more words for the
    compiler, whose warnings are errors.  A compiler that is missing fails the test.
    """
    directory = Path(tempfile.mkdtemp(prefix="annexd-"))
    atexit.register(shutil.rmtree, directory)
    program = directory / "annexd-shell"
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
    subprocess.run(compilation(program, os.environ, *warnings, *options), check=True)
    return program
