"""The command lines of `annexd token`, `annexd invite`, `annexd pair`, `annexd access`, and of clusters."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias

from annexd.app.cluster_verbs import add_cluster_verbs
from annexd.app.values import duration

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

OPERATIONS = ("enter", "check", "get", "lock", "watch", "pull", "put", "init", "remove", "push")
"""Those of `annexd.app.access`, which takes a while to import."""

_MODES = ("read-only", "append-only", "read-write")


def add_verbs(commands: Commands, add: Callable[..., argparse.ArgumentParser], socket_help: str) -> None:
    """``add`` makes a subcommand from the commands, its name, what it does, and a sentence."""

    def common(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--config", metavar="FILE", help="the daemon's; by default the one that runs says"
        )
        parser.add_argument("--socket", metavar="PATH", help=socket_help)

    _add_tokens(commands, add, common)
    invite = add(commands, "invite", _late("inviting", "invite"), "print a line for `git annex p2p --link`")
    pair = add(commands, "pair", _late("pairing", "pair"), "send an invitation through a magic-wormhole code")
    for parser in (invite, pair):
        _add_grant(parser)
        parser.add_argument(
            "--repo", metavar="REPO", nargs=1, required=True, help="which repository it is for"
        )
        way = parser.add_mutually_exclusive_group()
        way.add_argument("--tor", action="store_true", help="a tor-annex address, by [listen.tor]")
        way.add_argument(
            "--address",
            metavar="ADDRESS",
            help="HOST:PORT[,sha256=HEX], where the configuration does not know; or which onion of several",
        )
        if parser is invite:
            way.add_argument(
                "--tor-ssh", action="store_true", help="for ssh through tor, by [listen.tor] with ssh = true"
            )
        common(parser)
    invite.add_argument(
        "--key", metavar="FILE", help="with --tor-ssh: the other side's public key, to be let in from now on"
    )
    invite.add_argument(
        "--all-nodes",
        action="store_true",
        help="a line for the repository, and one for each node and cluster behind it",
    )
    invite.add_argument(
        "--script", action="store_true", help="a shell script that does it all on the other side"
    )
    pair.add_argument("--relay-url", metavar="URL", help="the mailbox server; by default $WORMHOLE_RELAY_URL")
    pair.add_argument(
        "--wait", metavar="TIME", type=_duration, default=600.0, help="for the other side; by default 10m"
    )
    _add_access(commands, add)
    add_cluster_verbs(commands, add, _late, socket_help)


def _add_tokens(
    commands: Commands,
    add: Callable[..., argparse.ArgumentParser],
    common: Callable[[argparse.ArgumentParser], None],
) -> None:
    token = commands.add_parser("token", help="who else may come", description="Who else may come.")
    verbs = token.add_subparsers(title="commands", metavar="COMMAND", required=True)
    adding = add(verbs, "add", _late("granting", "add"), "make tokens and print their secrets, once")
    _add_grant(adding)
    adding.add_argument(
        "--repo", metavar="REPO", action="append", required=True, help="a token for each of these"
    )
    adding.add_argument(
        "--secret-stdin", action="store_true", help="take the secret from standard input: an existing one"
    )
    listing = add(verbs, "list", _late("granting", "list_"), "show what tokens there are")
    listing.add_argument(
        "--json", action="store_true", help="as a JSON document; times are seconds since 1970"
    )
    revoking = add(verbs, "revoke", _late("granting", "revoke"), "take tokens back and end their sessions")
    revoking.add_argument("name", metavar="NAME")
    revoking.add_argument("--repo", metavar="REPO", action="append", default=[], help="only for these")
    revoking.add_argument("--node", metavar="NODE", help="only for this behind them: its name or UUID")
    for parser in (adding, listing, revoking):
        common(parser)


def _add_grant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="rules and logs speak of token:NAME")
    parser.add_argument("--mode", choices=_MODES, default="read-only", help="by default read-only")
    parser.add_argument(
        "--node", metavar="NODE", help="for a node or cluster behind the repository: its name or UUID"
    )
    parser.add_argument(
        "--expires", metavar="TIME", type=_duration, help='as in "12h" or "7d"; by default never'
    )


def _add_access(commands: Commands, add: Callable[..., argparse.ArgumentParser]) -> None:
    access = commands.add_parser("access", help="who may do what", description="Who may do what.")
    verbs = access.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = add(verbs, "check", _late("explaining", "check"), "say what somebody may do, and by which rule")
    check.add_argument("user", metavar="USER", help="or token:NAME, or certificate:NAME")
    check.add_argument("repository", metavar="REPO")
    check.add_argument(
        "operation",
        metavar="OPERATION",
        nargs="?",
        choices=OPERATIONS,
        help=f"one of {', '.join(OPERATIONS)}",
    )
    check.add_argument(
        "--node", metavar="NODE", help="in a node or cluster that it proxies: its name or UUID"
    )
    check.add_argument("--config", metavar="FILE", help="by default /etc/annexd.toml")
    check.add_argument("--json", action="store_true", help="as a JSON document")


def _late(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Imported when it is wanted: those who ask something else need not wait for it."""

    def act(options: argparse.Namespace) -> int:
        code: int = getattr(import_module(f"annexd.app.{module}"), function)(options)
        return code

    return act


def _duration(text: str) -> float:
    try:
        seconds: float = duration(above=0)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return seconds
