"""
The annexd that runs on this host, where it serves the repository in the current directory.

Peers may come to the repository there, without a listener of the repository's
own.  The address that it gave is kept in git config, as annexd.servedAt: the
daemon may be down when the address is used, and nobody else has its certificate.
"""

from __future__ import annotations

import posix

from annexd.client import annexd_shell
from annexd.client.git_settings import Settings
from annexd.client.p2p_address import Address, AddressError, parse
from annexd.client.processes import Output
from annexd.client.program import Problem, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROGRAM = "git-annex-p2p-annexd"
_SETTING = "annexd.servedAt"
_SECONDS = 10.0
_READ_BYTES = 65536


def running_address(settings: Settings, git_directory: str) -> Address | None:
    """
    Where peers come to this repository by a running annexd, or will when it
    runs again; `None` where they do not.
    """
    former = recorded(settings)
    try:
        answer = ask("address", git_directory)
    except Problem as problem:
        if former is not None:
            say(_PROGRAM, f"{problem}; peers can come when it runs again (else unset {_SETTING})")
        return former
    if answer.get("reason"):
        say(_PROGRAM, f"{answer['reason']}, so this address is one without it")
    text = answer.get("address", "")
    if text != (str(former) if former else ""):
        _record(text)
    return _parsed(text) if text else None


def recorded(settings: Settings) -> Address | None:
    text = settings.get("servedAt")
    return _parsed(text) if text else None


def ask(kind: str, git_directory: str) -> Any:
    """What the daemon answers.  Raises :class:`Problem` where none does."""
    body = f"{kind}\0repository={git_directory}".encode("utf-8", "surrogateescape")
    try:
        return _document(_exchange(len(body).to_bytes(4, "big") + body))
    except annexd_shell.Problem as problem:
        raise Problem(str(problem)) from None
    except OSError as error:
        raise Problem(f"annexd does not answer: {error}") from None


def _exchange(frame: bytes) -> bytes:
    """One frame there, everything until the end back."""
    connection = annexd_shell.connect(annexd_shell.socket_path({}, posix.environ))
    try:
        connection.settimeout(_SECONDS)
        connection.sendall(frame)
        text = b""
        while data := connection.recv(_READ_BYTES):
            text += data
        return text
    finally:
        connection.close()


def _document(text: bytes) -> Any:
    import json

    try:
        document = json.loads(text)
    except ValueError:
        raise Problem("annexd gave no answer; is it run by this user?") from None
    if "error" in document:
        raise Problem(f"annexd says: {document['error']}")
    return document


def _parsed(text: str) -> Address:
    try:
        return parse(text)
    except AddressError as error:
        raise Problem(str(error)) from None


def _record(text: str) -> None:
    change = (_SETTING, text) if text else ("--unset-all", _SETTING)
    if Output("git", "config", *change).read()[0]:
        raise Problem(f"{_SETTING} cannot be written to the git config of the repository")
