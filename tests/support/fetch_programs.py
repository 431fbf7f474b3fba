"""
Put the git-annex versions that the tests need into ``.cache/programs``.

Run as ``python -m tests.support.fetch_programs`` with the Python of the
virtual environment (it uses that one's pip).  What is there already is left
alone.  Two versions are wheels of the Python package index, the oldest is
Debian's package, unpacked beside the system; where its shared libraries are
missing they are installed (as root) or named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.support.programs import CACHE, MIDDLE, NEWEST, OLDEST, VERSIONS

_WHEELS = {NEWEST: "10.20261026", MIDDLE: "10.20250605"}
_DEBIAN_PACKAGE = "10.20230126-3"
_DEBIAN_LIBRARIES = ["libffi8", "libgmp10", "libmagic1", "libsqlite3-0", "libyaml-0-2", "zlib1g"]
_NAMES = ("git-annex", "git-annex-shell", "git-remote-annex")
_SECONDS = 300


def main() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        if not (CACHE / f"git-annex-{version}" / "bin" / "git-annex").exists():
            _fetch(version)
        _try(version)


def _fetch(version: str) -> None:
    print(f"fetching git-annex {version}", flush=True)
    place = CACHE / f"git-annex-{version}"
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        new = Path(scratch) / "new"
        elf = (
            _from_debian(Path(scratch), new)
            if version == OLDEST
            else _from_wheel(version, Path(scratch), new)
        )
        elf.chmod(0o755)
        (new / "bin").mkdir()
        for name in _NAMES:  # git-annex looks at the name that it is called by
            (new / "bin" / name).symlink_to(os.path.relpath(elf, new / "bin"))
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)


def _from_wheel(version: str, scratch: Path, new: Path) -> Path:
    wanted = f"git-annex=={_WHEELS[version]}"
    _run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(scratch), wanted], scratch
    )
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        wheel.extractall(new)
    return new / "git_annex" / "git-annex"


def _from_debian(scratch: Path, new: Path) -> Path:
    wanted = f"git-annex={_DEBIAN_PACKAGE}"
    if subprocess.run(["apt-cache", "show", wanted], capture_output=True, timeout=_SECONDS).returncode != 0:
        _run(["apt-get", "update"], scratch)
    _run(["apt-get", "download", wanted], scratch)
    _run(["dpkg", "-x", str(next(scratch.glob("*.deb"))), str(new)], scratch)
    return new / "usr" / "bin" / "git-annex"


def _try(version: str) -> None:
    """See that it runs, with its libraries installed where they are missing."""
    git_annex = str(CACHE / f"git-annex-{version}" / "bin" / "git-annex")
    if version == OLDEST and b"not found" in _run(["ldd", git_annex], CACHE):
        if os.geteuid() != 0:
            sys.exit(
                f"git-annex {version} lacks libraries: as root, apt-get install {' '.join(_DEBIAN_LIBRARIES)}"
            )
        _run(["apt-get", "update"], CACHE)
        _run(["apt-get", "install", "-y", "--no-install-recommends", *_DEBIAN_LIBRARIES], CACHE)
    said = _run([git_annex, "version", "--raw"], CACHE).decode()
    if not said.startswith(version):
        sys.exit(f"{git_annex} says that it is {said.strip()}, not {version}")


def _run(argv: list[str], cwd: Path) -> bytes:
    done = subprocess.run(argv, cwd=cwd, timeout=_SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(argv)}` failed with {done.returncode}:\n{done.stdout.decode(errors='replace')}")
    return done.stdout


if __name__ == "__main__":
    main()
