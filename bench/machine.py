"""On what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Mapping, Sequence

from bench.place import Place


def describe(place: Place) -> Mapping[str, str]:
    return {
        "machine": f"{_cpu()}, {os.cpu_count()} cpus, {_memory_gb():.0f} GB, kernel {platform.release()}",
        "disk": _file_system(str(place.directory)),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": f"{platform.python_version()}, Twisted {_version('Twisted')}, pygit2 {_version('pygit2')}",
        "others": f"{_first_line(['git-annex', 'version', '--raw'], place)} (git-annex), "
        f"{_first_line(['git', '--version'], place)}, {_first_line(['ssh', '-V'], place)}",
    }


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _file_system(path: str) -> str:
    """The mount with the longest matching path."""
    best = ("", "", "")
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            device, at, kind = line.split()[:3]
            inside = path == at or path.startswith(at.rstrip("/") + "/")
            if inside and len(at) >= len(best[1]):
                best = (device, at, kind)
    return f"{best[2]} ({best[0]} on {best[1]})"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _first_line(argv: Sequence[str], place: Place) -> str:
    """``ssh -V`` speaks on stderr."""
    try:
        done = subprocess.run(
            argv,
            env=dict(place.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
    except OSError:
        return f"no {argv[0]}"
    return (done.stdout.decode(errors="replace").splitlines() or ["?"])[0]
