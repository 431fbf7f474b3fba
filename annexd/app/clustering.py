"""`annexd cluster ...` and `annexd route ...`: the daemon is asked, and what it says is shown."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from annexd.app import cluster_tables
from annexd.app.asking import ask
from annexd.app.sockets import asking_socket

_STATUS_S = 120.0
"""A node that has frozen takes its deadline, and then its gateway answers."""

_COUNTING_S = 24 * 3600.0
_UPDATE_S = 120.0
_LOOK_S = 30.0
_PAUSE_S = 0.5

_DETACHED = 130
"""As shells say it of whoever was interrupted."""


def status(options: argparse.Namespace) -> int:
    fields = _fields(repository=options.repository, cluster=options.cluster, count=options.count)
    seconds = _COUNTING_S if options.count else _STATUS_S
    document = _ask(options, "cluster status", fields, seconds)
    _show(options.json, document, lambda: cluster_tables.status(document, time.time()))
    return 0


def update(options: argparse.Namespace) -> int:
    document = _ask(options, "cluster update", _fields(repository=options.repository), _UPDATE_S)
    for warning in document["warnings"]:
        print(f"annexd: warning: {warning}", file=sys.stderr)
    print("\n".join(document["changes"] or ["nothing to do"]))
    return 0


def repair(options: argparse.Namespace) -> int:
    """1 where something could not be done."""
    fields = _fields(
        repository=options.repository,
        cluster=options.cluster,
        jobs=options.jobs,
        **{"dry-run": options.dry_run, "ask-all": options.ask},
    )
    found = _ask(options, "cluster repair", {**fields, "do": "stop" if options.stop else "start"}, _LOOK_S)
    if found.get("joined"):
        print("annexd: a repair is under way already; this is how it goes on", file=sys.stderr)
    line = _Line()
    try:
        while found["state"] == "running":
            line.show(cluster_tables.progress(found))
            time.sleep(_PAUSE_S)
            found = _ask(options, "cluster repair", {**fields, "do": "look"}, _LOOK_S)
    except KeyboardInterrupt:
        line.clear()
        print("annexd: the repair goes on in the daemon; --stop ends it", file=sys.stderr)
        return _DETACHED
    line.clear()
    _show(options.json, found, lambda: cluster_tables.repaired(found))
    return 0 if found["state"] in ("done", "stopped") and not found["failures"] else 1


def explain(options: argparse.Namespace) -> int:
    fields = _fields(repository=options.repository, cluster=options.cluster, what=options.what)
    document = _ask(options, "route explain", fields, _LOOK_S)
    _show(options.json, document, lambda: cluster_tables.explained(document))
    return 0


def _ask(options: argparse.Namespace, kind: str, fields: dict[str, str], seconds: float) -> dict[str, Any]:
    return ask(asking_socket(options.socket, os.environ), kind, fields, seconds)


def _fields(**given: Any) -> dict[str, str]:
    """What was given; flags by their names alone.  The daemon's directory is another one than ours."""
    if given.get("repository"):
        given["repository"] = os.path.abspath(given["repository"])
    return {name: "" if value is True else str(value) for name, value in given.items() if value}


def _show(as_json: bool, document: dict[str, Any], table: Callable[[], str]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if as_json else table())
    sys.stdout.flush()


class _Line:
    """A line on a terminal that changes; elsewhere nothing is shown before the end."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        if self._is_terminal:
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)

    def clear(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
