"""`python -m bench`: measure, print the table, write it as JSON."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
from pathlib import Path
from typing import Sequence

from bench.machine import describe
from bench.place import Missing, Place
from bench.plan import FULL, QUICK, Plan
from bench.processes import within
from bench.report import Report
from bench.scene import Scene, prepare
from bench.sections import SECTIONS

_LONGER = {"tor": 4}
"""Sections that need so many times the time that others have."""

RESULTS = Path(__file__).parent / "results" / "latest.json"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    plan = QUICK if options.quick else FULL
    signal.signal(signal.SIGTERM, _interrupt)
    _raise_descriptor_limit()
    try:
        with Place(options.directory, plan.disk_bytes) as place:
            with within(plan.section_seconds):
                scene = prepare(place, plan, options.against_itself, options.cipher)
            report = Report(describe(place), scene.ours.name)
            for name in options.only or _usual(plan):
                _measure(scene, name, report)
            _finish(report, options)
    except Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is left behind", file=sys.stderr)
        return 130
    return 1 if report.failed else 0


def _usual(plan: Plan) -> list[str]:
    return [name for name in SECTIONS if name != "tor" or plan.tor_rounds]


def _measure(scene: Scene, name: str, report: Report) -> None:
    """A section that fails is named in the report, and the others go on."""
    print(f"bench: {name} ...", file=sys.stderr, flush=True)
    try:
        with within(scene.plan.section_seconds * _LONGER.get(name, 1)):
            report.rows.extend(SECTIONS[name](scene))
    except Exception as error:
        report.failed[name] = f"{type(error).__name__}: {error}; the servers said:\n{scene.place.said()}"
        print(f"bench: {name}: {report.failed[name]}", file=sys.stderr, flush=True)
        scene.place.processes.stop_all(but=[scene.daemon.process.pid] if scene.daemon else [])


def _finish(report: Report, options: argparse.Namespace) -> None:
    print(report)
    report.write(options.json)
    print(f"\nall samples: {options.json}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="annexd and git-annex-shell side by side")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    parser.add_argument("--only", action="append", choices=tuple(SECTIONS), help="one section (repeatable)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where all samples go (%(default)s)")
    parser.add_argument(
        "--directory", help="on the disk to measure (default: the system's temporary directory)"
    )
    parser.add_argument(
        "--against-itself", action="store_true", help="git-annex-shell on both sides: the noise"
    )
    parser.add_argument("--cipher", default="aes256-gcm@openssh.com", help="for ssh (%(default)s)")
    return parser.parse_args(arguments)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _raise_descriptor_limit() -> None:
    """A thousand sessions are two thousand pipes here, and twice that in the daemon."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
