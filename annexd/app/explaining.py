"""`annexd access check`: who may do what, and by which rule."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from annexd.app import tables
from annexd.app.access import TOKEN, Access, Operation, Rights, Verdict
from annexd.app.config import Config, read
from annexd.app.installation import DEFAULT_CONFIG
from annexd.app.state import state_directory
from annexd.app.token_file import RESERVED, TokenFile
from annexd.errors import Refused
from annexd.router.places import Map, Place


def check(options: argparse.Namespace) -> int:
    """0 where it is allowed (without an operation: to enter), else 1."""
    config = read(options.config or DEFAULT_CONFIG)
    verdict = explained(config, options.user, options.repository, os.environ, options.node)
    operation = Operation(options.operation or Operation.ENTER)
    allowed = verdict.rights.allow(operation)
    if options.json:
        print(json.dumps(_document(options, verdict), indent=2))
    elif options.operation:
        print(f"{_yes(allowed)}: {verdict.rights.value} ({verdict.because})")
    else:
        where = f"{options.node} behind {options.repository}" if options.node else options.repository
        print(f"{options.user} in {where}: {verdict.rights.value} ({verdict.because})\n")
        rows = [(one.value, _yes(verdict.rights.allow(one))) for one in Operation]
        print("\n".join(tables.section("", ("OPERATION", "ALLOWED"), rows)))
    return 0 if allowed else 1


def explained(
    config: Config, principal: str, repository: str, environ: Mapping[str, str], node: str | None = None
) -> Verdict:
    """
    As a daemon with this configuration would decide now, for the repository or
    a node behind it.  Raises `Unavailable` for unreadable tokens.
    """
    served = Map(config.served)
    try:
        place = served.locate(os.fsencode(os.path.abspath(repository)), None)
    except Refused as error:
        return Verdict(Rights.NONE, str(error))
    verdict = Access(config.rules).verdict(principal, *place.aliases, node=(node,) if node else ())
    if principal.startswith(TOKEN):
        file = TokenFile(state_directory(config.daemon.state_directory, environ))
        return verdict.within(_token_limits(principal.removeprefix(TOKEN), place, served, file))
    return verdict


def _token_limits(name: str, place: Place, served: Map, file: TokenFile) -> Verdict:
    if name == RESERVED:
        if place.served.git_annex_tokens:
            return Verdict(Rights.READ_WRITE, "git-annex-tokens")
        return Verdict(Rights.NONE, "git-annex-tokens is not set for this repository")
    because = f"there is no token {name} for this repository"
    for token in file.read():
        if token.name != name or not _leads_to(token.repository, place, served):
            continue
        obstacle = token.obstacle(time.time())
        if obstacle is None:
            return Verdict(token.rights, f"the token {name}")
        because = obstacle
    return Verdict(Rights.NONE, because)


def _leads_to(path: bytes, place: Place, served: Map) -> bool:
    try:
        return served.locate(path, None).identity == place.identity
    except Refused:
        return False


def _document(options: argparse.Namespace, verdict: Verdict) -> dict[str, Any]:
    found = {
        "principal": options.user,
        "repository": options.repository,
        "rights": verdict.rights.value,
        "because": verdict.because,
        "operations": {one.value: verdict.rights.allow(one) for one in Operation},
    }
    if options.node:
        found["node"] = options.node
    if options.operation:
        found["operation"] = options.operation
        found["allowed"] = verdict.rights.allow(Operation(options.operation))
    return found


def _yes(allowed: bool) -> str:
    return "yes" if allowed else "no"
