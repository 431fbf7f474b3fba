"""
The url of a git remote: what kind of place it is, as git and git-annex see it.

    ssh://[USER@]HOST[:PORT]/PATH     Ssh; /~/PATH and /~USER/PATH are under a home directory there
    [USER@]HOST:PATH                  Ssh, with a PATH under the home directory unless it begins with /
    /PATH, PATH, ~/PATH, file://      Local; a relative one is relative to the repository
    p2p-annex::NETWORK:ADDRESS        P2PAnnex
    tor-annex::HOST.onion:PORT        TorAnnex
    http://, https://, annex+http://  Http

Anything else is `Unsupported`, with a reason, which clients see: so it does not
say the url, in which there may be a password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Union
from urllib.parse import unquote_to_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HELPER = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*)::(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:([^@/]*)@)?(\[[^]/]*\]|[^:/@]*)(?::([0-9]*))?(/.*)?", re.DOTALL)
_SCP = re.compile(r"(?:([^@/:]*)@)?(\[[^]/]*\]|[^:/]+):(.*)", re.DOTALL)
_ONION = re.compile(r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.onion):([0-9]{1,5})(?:/.*)?")
_LONGEST_NAME = 255
"""Of a host, for SOCKS."""

_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_SSH = ("ssh", "git+ssh", "ssh+git")
_WEB = ("http", "https", "annex+http", "annex+https")


@dataclass(frozen=True, slots=True)
class Ssh:
    """``user`` is empty and ``port`` `None` where ssh is to know; ``path`` as git-annex-shell takes it."""

    host: str
    port: int | None
    user: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Local:
    path: bytes
    """Absolute; the repository's, its work tree's or its git directory's."""


@dataclass(frozen=True, slots=True)
class P2PAnnex:
    network: str
    address: str

    def __str__(self) -> str:
        return f"{self.network}:{self.address}"


@dataclass(frozen=True, slots=True)
class TorAnnex:
    """``host`` may have labels before the onion's address, which mean nothing to tor."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def onion(self) -> str:
        return ".".join(self.host.lower().rsplit(".", 2)[-2:])


@dataclass(frozen=True, slots=True)
class Http:
    url: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    reason: str


Place = Union[Ssh, Local, P2PAnnex, TorAnnex, Http, Unsupported]


def place_of(url: bytes, directory: bytes, home: bytes) -> Place:
    """
    What ``url`` names, for a repository in ``directory`` of a user whose home
    directory is ``home``; both are absolute.
    """
    text = url.decode("utf-8", "surrogateescape")
    if not text or "\n" in text or "\0" in text:
        return Unsupported("it has no url that can be used")
    helper = _HELPER.fullmatch(text)
    if helper is not None:
        return _helped(helper[1], helper[2])
    scheme = _SCHEME.fullmatch(text)
    if scheme is not None:
        return _with_scheme(scheme[1].lower(), scheme[2], text)
    scp = _SCP.fullmatch(text)
    if scp is not None:
        return _ssh(scp[1] or "", scp[2], None, _at_home(os.fsencode(scp[3])))
    return _local(url, directory, home)


def _helped(helper: str, rest: str) -> Place:
    if helper == "p2p-annex":
        network, colon, address = rest.partition(":")
        if not colon or not _NETWORK.fullmatch(network) or not address or address.startswith("-"):
            return Unsupported("its url names no network and address")
        return P2PAnnex(network, address)
    if helper == "tor-annex":
        return _onion(rest)
    return Unsupported(f"remotes of the kind {helper}:: cannot be used")


def _onion(rest: str) -> Place:
    """git-annex drops what follows the port, and so is it here."""
    address = _ONION.fullmatch(rest)
    if address is None or len(address[1]) > _LONGEST_NAME or not 0 < int(address[2]) < 65536:
        return Unsupported(f"tor-annex::{rest} names no onion address and port")
    return TorAnnex(address[1], int(address[2]))


def _with_scheme(scheme: str, rest: str, url: str) -> Place:
    if scheme in _SSH:
        parts = _AUTHORITY.fullmatch(rest)
        if parts is None or not parts[4]:
            return Unsupported("its url names no host and path")
        return _ssh(
            _decoded(parts[1] or "").decode("utf-8", "replace"), parts[2], parts[3], _decoded(parts[4])
        )
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if not slash or host not in ("", "localhost"):
            return Unsupported("its url names no path on this machine")
        return Local(os.path.normpath(b"/" + _decoded(path).lstrip(b"/")))
    if scheme in _WEB:
        return Http(url)
    return Unsupported(f"remotes with {scheme}:// cannot be used")


def _ssh(user: str, host: str, port: str | None, path: bytes) -> Place:
    host = host.removeprefix("[").removesuffix("]")
    if not host or host.startswith("-") or user.startswith("-"):  # ssh would take it for an option
        return Unsupported("its url names no host")
    if port and not 0 < int(port) < 65536:
        return Unsupported(f"{port} is no port")
    return Ssh(host, int(port) if port else None, user, path)


def _at_home(path: bytes) -> bytes:
    if path.startswith(b"/"):
        return path
    return b"/" + path if path.startswith(b"~") else b"/~/" + path


def _local(url: bytes, directory: bytes, home: bytes) -> Place:
    if url == b"~" or url.startswith(b"~/"):
        url = os.path.join(home, url[2:])
    elif url.startswith(b"~"):
        return Unsupported("paths in other users' home directories cannot be used: write the whole path")
    return Local(os.path.normpath(os.path.join(directory, url)))


def _decoded(text: str) -> bytes:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
