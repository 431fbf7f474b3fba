"""A script that makes remotes of a repository and of what is behind it, for the other side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from annexd.app.logs import clean
from annexd.app.offers import Offer

_CLUSTER_COST, _NODE_COST = "200.0", "200.1"
"""As git-annex has them for what is behind a gateway by ssh: a cluster is asked before its nodes."""

_HEAD = """\
#!/bin/sh
# Links a git-annex repository with {repository}, as {principal}.
# Run it in that repository, with the name for the remote: sh FILE [NAME]
# Remotes that are there already stay as they are.
# The secrets in it let in whoever has them.
set -u
gateway=${{1:-gw}}
failed=0

link() {{
    if git config --get "remote.$1.url" >/dev/null; then
        echo "$1 is there already"
        return 1
    fi
    if ! printf '%s\\n' "$2" | git annex p2p --link --name "$1"; then
        echo "$1 could not be linked" >&2
        failed=1
        return 1
    fi
}}

git rev-parse --git-dir >/dev/null || exit 1
"""

# Who does not know of a cluster does not look there for what its nodes have.
_TAIL = """\
if [ "$failed" = 0 ]; then
    echo "now get to know what is there: git annex sync $gateway"
fi
exit "$failed"
"""


@dataclass(frozen=True, slots=True)
class Linked:
    """``line`` is for ``git annex p2p --link``; without ``offer`` it is for the repository itself."""

    line: str
    offer: Offer | None = None


def link_script(repository: bytes, principal: str, links: Sequence[Linked]) -> str:
    """
    For any POSIX shell.  Names come from the git-annex branch, where anybody
    with a clone may have written them.
    """
    lines = [_HEAD.format(repository=clean(repository), principal=clean(principal))]
    for link in links:
        lines.append("\n".join(_commands(link)) + "\n")
    lines.append(_TAIL)
    return "".join(lines)


def _commands(link: Linked) -> list[str]:
    offer = link.offer
    if offer is None:
        return [f'link "$gateway" {shlex.quote(link.line)}']
    settings: list[tuple[str, str]] = []
    if offer.is_cluster:
        settings.append(("annex-cost", _CLUSTER_COST))
    else:
        settings.append(("annex-cost", _NODE_COST if offer.is_member else _CLUSTER_COST))
    if offer.is_member:
        settings.append(("annex-sync", "false"))
    remote = f'"$gateway"-{shlex.quote(offer.name)}'
    written = [f"git config remote.{remote}.{name} {value}" for name, value in settings]
    return [f"if link {remote} {shlex.quote(link.line)}; then", *(f"    {one}" for one in written), "fi"]
