"""
The real programs that the interoperability tests run, and where they are.

Three versions of git-annex are kept in ``.cache/programs`` of the checkout;
``python -m tests.support.fetch_programs`` puts them there.  A program that is
missing fails the test that wants it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

NEWEST = "10.20261026"
MIDDLE = "10.20250605"
OLDEST = "10.20230126"
VERSIONS = (NEWEST, MIDDLE, OLDEST)

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache" / "programs"
FETCH = "python -m tests.support.fetch_programs"

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MissingProgram(AssertionError):
    """A test cannot say anything without this program, so it fails."""


def git_annex_bin(version: str) -> Path:
    """The directory that has ``git-annex`` and ``git-annex-shell`` of a version and nothing else."""
    directory = CACHE / f"git-annex-{version}" / "bin"
    if not (directory / "git-annex").exists():
        raise MissingProgram(f"git-annex {version} is not in {directory}: run `{FETCH}` first")
    return directory


def program(name: str, package: str) -> str:
    """The absolute path of a program of the system."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise MissingProgram(f"{name} is not installed: as root, `apt-get install {package}`")
    return found


def path_with(*directories: Path) -> str:
    """A PATH that finds programs in these directories before the system's."""
    return os.pathsep.join([*map(str, directories), SYSTEM_PATH])


def annexd_program(name: str) -> Path:
    """``annexd`` or ``annexd-shell`` as installed beside the Python that runs the tests."""
    installed = Path(sys.prefix) / "bin" / name
    if not installed.exists():
        raise MissingProgram(f"{installed} does not exist: install annexd first (`make venv`)")
    return installed
