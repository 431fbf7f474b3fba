"""
git-annex-p2p-annexd, which git-annex runs for remotes ``p2p-annex::annexd:ADDRESS``.

Its three ways to be called are git-annex's interface for networks of peers;
what does not connect to somebody is imported only where it is wanted.
"""

from __future__ import annotations

import posix

from annexd.client.program import Problem, say, start

PROGRAM = "git-annex-p2p-annexd"

USAGE = """\
usage: git-annex-p2p-annexd ADDRESS          connect stdin and stdout to a peer
       git-annex-p2p-annexd address          print the address of the repository here
       git-annex-p2p-annexd ADDRESS SOCKET   let peers come to git-annex at SOCKET

git-annex runs it for remotes p2p-annex::annexd:ADDRESS, over TLS.  ADDRESS is
HOST:PORT[,sha256=HEX][,name=NAME][,label=LABEL]
"""

CONNECT_SECONDS = 20.0
CONNECT_VARIABLE = b"ANNEXD_CONNECT_SECONDS"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--help" | "-h"]:
            posix.write(1, USAGE.encode())
            return 0
        case ["--version"]:
            from annexd import __version__

            posix.write(1, f"{PROGRAM} {__version__}\n".encode())
            return 0
        case ["address"]:
            from annexd.client.own_address import print_address

            return print_address()
        case [address] if not address.startswith("-"):
            return dial(address)
        case [address, socket] if not address.startswith("-"):
            from annexd.client.reach import reach

            return reach(address, socket)
    posix.write(2, USAGE.encode())
    return 2


def dial(text: str) -> int:
    from annexd.client import dial, tls
    from annexd.client.git_settings import Settings
    from annexd.client.p2p_address import AddressError, parse
    from annexd.client.relay import Cut, Relay

    settings = Settings()
    try:
        address = parse(text)
    except AddressError as error:
        raise Problem(str(error)) from None
    seconds = connect_seconds()
    connection = dial.connect(address.host, address.port, seconds)
    context = tls.client_context(address, settings)
    try:
        stream = tls.connect(connection, context, address, seconds)
    except OSError as error:
        raise tls.explained(error, address, seconds) from None
    try:
        Relay(stream, connection, 0, 1).run()
    except Cut as cut:
        place = f"{address.host} port {address.port}"
        say(PROGRAM, tls.alert(cut.error, place) or f"the connection to {place} was lost")
        return 1
    return 0


def connect_seconds() -> float:
    """How long connecting may take, and how long the handshake after it."""
    try:
        seconds = float(posix.environ.get(CONNECT_VARIABLE, b"") or CONNECT_SECONDS)
        if 0 < seconds < 1e6:
            return seconds
    except ValueError:
        pass
    raise Problem(f"{CONNECT_VARIABLE.decode()} is no number of seconds")


def run() -> None:
    start(PROGRAM, main)
