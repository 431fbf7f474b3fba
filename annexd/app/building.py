"""`annexd build-shell`: the part of annexd-shell that is for every client, as a compiled program."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from annexd.app.installed import is_stand_in
from annexd.client import annexd_shell
from annexd.errors import AnnexdError

_SCRIPT = Path(annexd_shell.__file__)
_SECONDS = 120.0
# It takes a tenth of a second; a compiler that hangs must not hang us.

_OTHERWISE = "the Python program does the same in more time"


def beside(annexd: str) -> Path:
    """Where annexd-shell was installed with the program ``annexd``; raises `AnnexdError`."""
    place = Path(annexd).resolve().with_name("annexd-shell")
    if not place.exists():
        raise AnnexdError(f"there is no {place}: say with --output where the program is to be")
    return place


def build_shell(output: Path, environ: Mapping[str, str]) -> None:
    """
    Compile annexd-shell and put it at ``output``, in the place of what is
    there if that is annexd-shell, too.  Raises `AnnexdError`.
    """
    try:
        if output.exists() and not is_stand_in(str(output)):
            raise AnnexdError(f"{output} is something else than annexd-shell, and is left alone")
        with tempfile.TemporaryDirectory(prefix=".annexd-shell-", dir=output.parent) as scratch:
            new = Path(scratch) / "annexd-shell"
            _run(compilation(new, environ))
            new.chmod(0o755)
            # It may be running at this moment; only its name changes hands.
            new.replace(output)
    except OSError as error:
        raise AnnexdError(f"{output} cannot be made: {error.strerror}") from None


def compilation(output: Path, environ: Mapping[str, str], *options: str) -> list[str]:
    """The command that compiles it; ``$CC`` is heeded."""
    compiler = shlex.split(environ.get("CC", "")) or ["cc"]
    places = (f"-DPYTHON={_literal(sys.executable)}", f"-DSCRIPT={_literal(str(_SCRIPT))}")
    source = str(_SCRIPT.with_suffix(".c"))
    return [*compiler, "-std=c11", "-O2", "-s", *places, *options, "-o", str(output), source]


def _run(command: Sequence[str]) -> None:
    compiler = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
        )
    except FileNotFoundError:
        raise AnnexdError(f"there is no C compiler here ({compiler}): {_OTHERWISE}") from None
    except subprocess.TimeoutExpired:
        raise AnnexdError(f"{compiler} has not ended within {_SECONDS:g} seconds: {_OTHERWISE}") from None
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise AnnexdError(f"{compiler} cannot compile annexd-shell: {_OTHERWISE}\n{said}".strip())


def _literal(path: str) -> str:
    """As C writes it; every odd byte as its number."""
    return '"' + "".join(_letter(byte) for byte in os.fsencode(path)) + '"'


def _letter(byte: int) -> str:
    letter = chr(byte)
    return letter if letter.isascii() and (letter.isalnum() or letter in "/._-") else f"\\{byte:03o}"
