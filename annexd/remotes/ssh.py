"""
Peers reached by ssh: one connection to each host, which all links there share,
and a session over it for each wire.

The connection is that of an ssh of the user's, with the user's settings; it is
asked for sessions by its control socket, so none of them costs a process here.
A host that allows few sessions on a connection gets as many as it takes.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from annexd.errors import ConfigError, PeerLost, Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Explain
from annexd.remotes.private_directory import PrivateDirectory
from annexd.remotes.ssh_master import Master
from annexd.remotes.ssh_session import NoSession, Session
from annexd.remotes.url import Ssh
from annexd.sessions.wire import Wire

_LONGEST_PATH = 107 - 17
"""Of a unix socket, with the suffix under which ssh makes it."""

_PLAIN = re.compile(rb"[A-Za-z0-9-]+")

_MOST_MASTERS = 16
"""To one host."""

Destination = tuple[str, ...]
"""The arguments of ssh that say where to, and how."""


class SshHosts:
    """
    The connections of all links.  ``program`` is the ssh, ``environ`` its
    environment, ``connect_s`` what it may take to connect, ``idle_s`` how long
    a connection without sessions is kept.  Control sockets are made in a
    private directory under ``directory`` (the system's for such things where
    there is none), whose path must be short.  Raises `ConfigError`.
    """

    def __init__(
        self,
        reactor: Any,
        environ: Mapping[str, str],
        *,
        directory: str | None = None,
        program: str = "ssh",
        connect_s: float = 15.0,
        idle_s: float = 60.0,
    ) -> None:
        self._reactor = reactor
        self._environ = environ
        path = environ.get("PATH")
        self._program = [*_bound_to_us(path), shutil.which(program, path=path) or program]
        self.connect_s = connect_s
        self._idle_s = idle_s
        self._masters: dict[Destination, list[Master]] = {}
        self._numbers = itertools.count(1)
        self._directory = PrivateDirectory(directory)
        if len(os.fsencode(self._directory.path)) + 8 > _LONGEST_PATH:
            self._directory.close()
            raise ConfigError(
                f"{directory or tempfile.gettempdir()} is too long a path for the sockets of ssh"
            )

    async def open(self, to: Destination, command: bytes) -> Session:
        """Run ``command`` there.  Raises `Unavailable`."""
        reason = ""
        for _ in range(_MOST_MASTERS):
            master = self._master(to)
            is_new = master.sessions == 0
            try:
                return await master.open(command)
            except NoSession as error:
                reason = f"ssh opens no session: {error}"
                if is_new and master.sessions == 0:
                    break  # it would be the same with another one
            except PeerLost as error:
                reason = str(error)
        raise Unavailable(reason)

    def _master(self, to: Destination) -> Master:
        masters = self._masters.setdefault(to, [])
        masters[:] = [master for master in masters if not master.gone.called]
        for master in masters:
            if master.useful:
                return master
        if sum(not master.ended for master in masters) >= _MOST_MASTERS:
            raise Unavailable("no further session can be had over ssh")
        path = os.path.join(self._directory.path, str(next(self._numbers)))
        masters.append(Master(self._reactor, self._argv(to, path), self._environ, path, self._idle_s))
        return masters[-1]

    def _argv(self, to: Destination, path: str) -> list[str]:
        """The first of several settings counts: what must be so, then the user's, then the rest."""
        ours = ["ControlMaster=yes", f"ControlPath={path}", "ControlPersist=no", "BatchMode=yes"]
        ours += ["ClearAllForwardings=yes", "ForwardX11=no", "RemoteCommand=none", "RequestTTY=no"]
        theirs = ["ServerAliveInterval=15", "ServerAliveCountMax=3"]
        theirs += [f"ConnectTimeout={max(1, round(self.connect_s))}"]
        *options, host = to
        first = [word for setting in ours for word in ("-o", setting)]
        last = [word for setting in theirs for word in ("-o", setting)]
        return [*self._program, "-N", "-T", *first, *options, *last, "--", host]

    async def close(self) -> None:
        """End all connections, whatever they are in use for; a few seconds at most."""
        masters = [master for some in self._masters.values() for master in some]
        self._masters.clear()
        for master in masters:
            master.close()
        for master in masters:
            await master.gone
        self._directory.close()


def _bound_to_us(path: str | None) -> list[str]:
    """A killed daemon cannot end what it has started, so the kernel is asked to, where util-linux is."""
    found = shutil.which("setpriv", path=path)
    if found is None or os.path.basename(os.path.realpath(found)) != "setpriv":
        return []
    return [found, "--pdeathsig", "TERM", "--"]


class SshAccount:
    """
    Where ``place`` is: commands can be run there.  ``options`` are words for
    ssh, as in annex-ssh-options.
    """

    def __init__(self, hosts: SshHosts, place: Ssh, options: tuple[str, ...] = ()) -> None:
        port = ("-p", str(place.port)) if place.port else ()
        user = ("-l", place.user) if place.user else ()
        self._hosts = hosts
        self._to = (*port, *user, *options, place.host)

    async def open(self, command: bytes) -> Session:
        """Raises `Unavailable`; has no deadline of its own."""
        return await self._hosts.open(self._to, command)


class SshDialer:
    """
    git-annex-shell (or annexd-shell) at ``place``, for the repository
    ``uuid``, on behalf of ``own_uuid``.  ``options`` are words for ssh, as in
    annex-ssh-options; ``shell`` is remote.NAME.annex-shell.
    """

    auth: Auth | None = None

    def __init__(
        self,
        hosts: SshHosts,
        place: Ssh,
        uuid: bytes,
        own_uuid: bytes,
        *,
        options: tuple[str, ...] = (),
        shell: bytes = b"git-annex-shell",
    ) -> None:
        self._account = SshAccount(hosts, place, options)
        self._command = command_line(shell, place.path, uuid, own_uuid)

    async def connect(self, wire: Wire) -> Explain:
        return (await self._account.open(self._command)).join(wire)


def command_line(shell: bytes, path: bytes, uuid: bytes, own_uuid: bytes) -> bytes:
    """As stock clients write it, who do not quote UUIDs: forced commands read it."""
    return b"%b 'p2pstdio' %b %b --uuid %b" % (shell, quoted(path), quoted(own_uuid), _plain(uuid))


def news_line(shell: bytes, path: bytes, uuid: bytes) -> bytes:
    """The command that tells of changes: p2pstdio does not know NOTIFYCHANGE."""
    return b"%b 'notifychanges' %b --uuid %b" % (shell, quoted(path), _plain(uuid))


def git_line(program: bytes, path: bytes) -> bytes:
    """As git writes it for an ssh; ``program`` is git-upload-pack, or what stands for it."""
    return b"%b %b" % (program, quoted(path[1:] if path.startswith(b"/~") else path))


def _plain(uuid: bytes) -> bytes:
    return uuid if _PLAIN.fullmatch(uuid) else quoted(uuid)


def quoted(word: bytes) -> bytes:
    """For any shell."""
    return b"'" + word.replace(b"'", b"'\"'\"'") + b"'"
