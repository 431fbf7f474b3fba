"""
git-remote-p2p-annex, which git runs to fetch from and push to ``p2p-annex::`` remotes.

git-annex can be this program, but not every package of it has it under the
name, and where the peer refuses or goes away it waits for ever.  This needs no
git-annex: the network's own helper, ``git-annex-p2p-NETWORK``, connects, and
over that connection it is let in by the token and asks for git's service.
"""

from __future__ import annotations

import posix
import sys
from select import POLLIN, poll

from annexd.client.git_settings import git_directory
from annexd.client.p2p_address import token_file_name
from annexd.client.processes import Output, spawn
from annexd.client.program import Problem, start

PROGRAM = "git-remote-p2p-annex"

USAGE = """\
usage: git-remote-p2p-annex REMOTE NETWORK:ADDRESS

git runs it for remotes p2p-annex::NETWORK:ADDRESS.
"""

TOKEN_VARIABLE = b"GIT_ANNEX_P2P_AUTHTOKEN"

_SERVICES = (b"git-upload-pack", b"git-receive-pack")
_NOBODY = b"00000000-0000-0000-0000-000000000000"  # where there is no git-annex, only git
_STEP = 64 * 1024
_LINE_BYTES = 4096
_ANSWER_SECONDS = 60.0  # connecting has a limit of its own in the helper


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0].startswith("-"):
        posix.write(2, USAGE.encode())
        return 2
    network, colon, address = arguments[1].partition(":")
    if not colon or "/" in network:
        raise Problem(f"{arguments[1]!r} is not NETWORK:ADDRESS")
    while command := _command():
        if command == b"capabilities":
            posix.write(1, b"connect\n\n")
            continue
        verb, _, service = command.partition(b" ")
        if verb != b"connect" or service not in _SERVICES:
            raise Problem(f"git asks for {command.decode('utf-8', 'replace')!r}, which is not known here")
        return _serve(service, network, address)
    return 0


def _command() -> bytes:
    """
    One line of git's, byte by byte: what follows a line may be for git's
    service.  Empty at the end.
    """
    line = b""
    while (byte := posix.read(0, 1)) and byte != b"\n":
        line += byte
    return line


def _serve(service: bytes, network: str, address: str) -> int:
    token = _token(f"{network}:{address}")
    peer = _Peer(network, address)
    peer.enter(token)
    left = peer.ask(service)
    posix.write(1, b"\n")
    import _thread

    _thread.start_new_thread(peer.tell, ())
    return peer.hear(left)


def _token(address: str) -> bytes:
    """What git-annex keeps from ``p2p --link``, or what the environment says."""
    token = posix.environ.get(TOKEN_VARIABLE, b"")
    if not token:
        try:
            with open(f"{git_directory()}/annex/creds/{token_file_name(address)}", "rb") as file:
                token = file.readline()
        except OSError:
            raise Problem(
                f"there is no token for p2p-annex::{address}: `git annex p2p --link` asks for it"
            ) from None
    return token.strip().lower()


class _Peer:
    """The helper of the network, and what it is connected to."""

    def __init__(self, network: str, address: str) -> None:
        name = f"git-annex-p2p-{network}"
        beside = sys.executable.encode("utf-8", "surrogateescape").rpartition(b"/")[0]
        its_input, self._to = posix.pipe()
        self._from, its_output = posix.pipe()
        spawn([name, address], {0: its_input, 1: its_output}, also=[beside])
        posix.close(its_input)
        posix.close(its_output)
        self._received = b""

    def enter(self, token: bytes) -> None:
        _, uuid = Output("git", "config", "annex.uuid", said=False).read()
        answer = self._exchange(b"AUTH %s %s\n" % (uuid.strip() or _NOBODY, token))
        if answer.startswith(b"AUTH-SUCCESS"):
            return
        if answer.startswith(b"AUTH-FAILURE"):
            raise Problem("the peer does not accept the token that is kept for it")
        raise Problem(_refusal(answer))

    def ask(self, service: bytes) -> int:
        """git's service speaks first; how many bytes of it come next."""
        answer = self._exchange(b"CONNECT %s\n" % service)
        word, _, number = answer.partition(b" ")
        if word == b"DATA" and number.isdigit():
            return int(number)
        raise Problem(_refusal(answer))

    def _exchange(self, question: bytes) -> bytes:
        try:
            posix.write(self._to, question)
        except BrokenPipeError:
            pass  # the helper has ended, and said why
        return self._line(_ANSWER_SECONDS)

    def _line(self, seconds: float | None = None) -> bytes:
        while b"\n" not in self._received:
            if len(self._received) > _LINE_BYTES:
                raise Problem("the peer speaks another protocol")
            data = self._receive(seconds)
            if not data:
                posix._exit(1)  # the helper says why
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _receive(self, seconds: float | None = None) -> bytes:
        if seconds is not None:
            asked = poll()
            asked.register(self._from, POLLIN)
            if not asked.poll(seconds * 1000):
                raise Problem(f"the peer has not answered within {seconds:g} seconds")
        return posix.read(self._from, _STEP)

    def tell(self) -> None:
        """
        From git to the peer, in a thread.  After a push git says no more and
        waits for the answer; CONNECTDONE would now tell git-annex not to give it.
        """
        try:
            while data := posix.read(0, _STEP):
                _write(self._to, b"DATA %d\n" % len(data) + data)
        except OSError:
            pass  # what there is still to hear is heard
        asked = poll()
        asked.register(1, 0)
        asked.poll()
        posix._exit(0)  # git has what it wants, or has gone; it asks for this code

    def hear(self, left: int) -> int:
        """From the peer to git, beginning with ``left`` bytes; the exit code of git at the peer."""
        while True:
            while left:
                data = self._received or self._receive()
                if not data:
                    posix._exit(1)
                self._received = data[left:]
                try:
                    _write(1, data[:left])
                except OSError:
                    return 1  # git has gone
                left -= min(left, len(data))
            line = self._line()
            word, _, number = line.partition(b" ")
            if word == b"CONNECTDONE":
                return min(int(number), 255) if number.isdigit() else 1
            if word != b"DATA" or not number.isdigit():
                raise Problem(_refusal(line))
            left = int(number)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[posix.write(fd, rest) :]


def _refusal(answer: bytes) -> str:
    word, _, reason = answer.partition(b" ")
    if word == b"ERROR":
        return f"the peer says: {reason.decode('utf-8', 'replace')}"
    if word == b"CONNECTDONE":
        return "the peer does not serve git here"
    return f"the peer answered {answer[:80].decode('utf-8', 'replace')!r}, which was not expected"


def run() -> None:
    start(PROGRAM, main)
