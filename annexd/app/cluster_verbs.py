"""The command lines of `annexd cluster` and `annexd route`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Add: TypeAlias = "Callable[..., argparse.ArgumentParser]"
Late: TypeAlias = "Callable[[str, str], Callable[[argparse.Namespace], int]]"

_JSON = "as a JSON document; times are seconds since 1970"
_CLUSTER = "by its name or UUID; not needed where the gateway has only one"


def add_cluster_verbs(commands: Commands, add: Add, late: Late, socket_help: str) -> None:
    """``late`` makes what a command does from a module and a function there."""
    said = "what a gateway's clusters are made of, and how they fare"
    cluster = commands.add_parser("cluster", help=said, description=f"W{said[1:]}.")
    verbs = cluster.add_subparsers(title="commands", metavar="COMMAND", required=True)
    status = add(verbs, "status", late("clustering", "status"), "show gateways, nodes, and how full they are")
    status.add_argument(
        "repository", metavar="REPO", nargs="?", help="a gateway; by default all that are served"
    )
    status.add_argument("--cluster", metavar="NAME", help="only this one, by its name or UUID")
    status.add_argument("--count", action="store_true", help="count keys, however long that takes")
    status.add_argument("--json", action="store_true", help=_JSON)
    update = add(
        verbs,
        "update",
        late("clustering", "update"),
        "write what is configured to the git-annex branch, as `git annex updatecluster` does",
    )
    update.add_argument("repository", metavar="REPO")
    repair = add(
        verbs, "repair", late("clustering", "repair"), "give every node what it should have, from the others"
    )
    _add_repair(repair)
    said = "the ways that requests take through clusters"
    route = commands.add_parser("route", help=said, description=f"T{said[1:]}.")
    explain = add(
        route.add_subparsers(title="commands", metavar="COMMAND", required=True),
        "explain",
        late("clustering", "explain"),
        "say where a key would go to and come from, and why",
    )
    explain.add_argument("repository", metavar="REPO", help="a gateway")
    explain.add_argument(
        "what", metavar="KEY|FILE", help="a key, or a file's path in the branch that is checked out"
    )
    explain.add_argument("--cluster", metavar="NAME", help=_CLUSTER)
    explain.add_argument("--json", action="store_true", help="as a JSON document")
    for parser in (status, update, repair, explain):
        parser.add_argument("--socket", metavar="PATH", help=socket_help)


def _add_repair(repair: argparse.ArgumentParser) -> None:
    repair.add_argument("repository", metavar="REPO", help="a gateway")
    repair.add_argument("--cluster", metavar="NAME", help=_CLUSTER)
    repair.add_argument("--dry-run", action="store_true", help="only say what would be done")
    repair.add_argument(
        "--ask",
        action="store_true",
        help="ask nodes on other machines, too, whether they have what the log has",
    )
    repair.add_argument("--jobs", metavar="N", type=_jobs, help="keys at once; by default annex.jobs, or 8")
    repair.add_argument("--stop", action="store_true", help="end the repair that is under way")
    repair.add_argument("--json", action="store_true", help="its end as a JSON document")


def _jobs(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return int(text)
