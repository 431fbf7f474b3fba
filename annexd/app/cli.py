"""`annexd ...`: serve in the foreground, and ask a daemon that runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from annexd import __version__
from annexd.app import tables
from annexd.app.asking import ask
from annexd.app.sockets import asking_socket
from annexd.app.verbs import add_verbs
from annexd.errors import AnnexdError, ConfigError

DEFAULT_CONFIG = "/etc/annexd.toml"

_SOCKET_HELP = (
    "the daemon's unix socket; by default $ANNEXD_SOCKET, /run/annexd/annexd.sock, "
    "or $XDG_RUNTIME_DIR/annexd/annexd.sock"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when it did not work, 2 when what was asked for makes no sense."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.act(options)
        return code
    except ConfigError as error:
        return _complain(error, 2)
    except AnnexdError as error:
        return _complain(error, 1)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing is left to say at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(error: AnnexdError, code: int) -> int:
    for line in str(error).split("\n"):
        print(f"annexd: {line}", file=sys.stderr)
    return code


def _serve(options: argparse.Namespace) -> int:
    # All of Twisted takes a while to load, and those who only ask do not need it.
    from annexd.app.serving import serve_in_foreground

    return serve_in_foreground(options.config, options.socket, options.log_format, options.repositories)


def _status(options: argparse.Namespace) -> int:
    document = ask(asking_socket(options.socket, os.environ), "status")
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if options.json else tables.status(document))
    sys.stdout.flush()
    return 0


def _reload(options: argparse.Namespace) -> int:
    print(ask(asking_socket(options.socket, os.environ), "reload")["reloaded"])
    return 0


def _check_config(options: argparse.Namespace) -> int:
    from annexd.app.checking import check_files
    from annexd.app.config import read
    from annexd.app.state import state_directory

    found = read(options.config)
    notes = check_files(found, state_directory(found.daemon.state_directory, os.environ))
    repositories = sum(not served.nested for served in found.served)
    directories = len(found.served) - repositories
    print(
        f"{options.config}: {repositories} repositories, {directories} directories, {len(found.rules)} rules"
    )
    if not found.served:
        notes.append("it names nothing to serve, which will not do without a REPO")
    for served in found.served:
        if not os.path.isdir(served.path):
            notes.append(f"{os.fsdecode(served.path)} is not there now")
    for note in notes:
        print(f"annexd: note: {note}", file=sys.stderr)
    return 0


def _build_shell(options: argparse.Namespace) -> int:
    from annexd.app.building import beside, build_shell

    output = Path(options.output) if options.output else beside(sys.argv[0])
    build_shell(output, os.environ)
    print(f"{output} is a compiled program now")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="annexd",
        description="Serve git-annex repositories to git-annex clients.",
        epilog="Clients come in through sshd with annexd-shell as their command: see annexd-shell(1).",
    )
    parser.add_argument("--version", action="version", version=f"annexd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    status = _add(commands, "status", _status, "show listeners, open repositories and sessions")
    status.add_argument("--json", action="store_true", help="as a JSON document")
    status.add_argument("--socket", metavar="PATH", help=_SOCKET_HELP)
    reload = _add(commands, "reload", _reload, "make a daemon read its configuration again")
    reload.add_argument("--socket", metavar="PATH", help=_SOCKET_HELP)
    check = _add(
        commands,
        "check-config",
        _check_config,
        "say what is wrong with a configuration and with the keys and certificates that it names",
    )
    check.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help=f"by default {DEFAULT_CONFIG}"
    )
    build = _add(
        commands,
        "build-shell",
        _build_shell,
        "compile annexd-shell, so that it starts sooner and a session needs less memory; needs a C compiler",
    )
    build.add_argument(
        "--output",
        metavar="PATH",
        help="where the program is to be; by default it takes the place of the annexd-shell beside annexd",
    )
    add_verbs(commands, _add, _SOCKET_HELP)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = _add(
        commands,
        "serve",
        _serve,
        "serve in the foreground; prints `ready` when clients may come, logs to stderr",
    )
    serve.add_argument("--config", metavar="FILE", help="an annexd.toml; see annexd.toml(5)")
    serve.add_argument("--socket", metavar="PATH", help=_SOCKET_HELP)
    serve.add_argument("--log-format", choices=("human", "json"), help="instead of the configuration's")
    serve.add_argument("repositories", metavar="REPO", nargs="*", help="a git-annex repository, bare or not")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, act: object, help: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.set_defaults(act=act)
    return parser


if __name__ == "__main__":
    sys.exit(main())
