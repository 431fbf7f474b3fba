"""From a plan to a daemon: the parts, and how they are put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any

from twisted.logger import Logger, globalLogPublisher

from annexd.app.admin import Control, Sessions
from annexd.app.anteroom import Anteroom
from annexd.app.audit import AUDIT, Audit
from annexd.app.certificates import Certificates
from annexd.app.gateway import Gateway, Listener, Parts
from annexd.app.guessing import Guessing
from annexd.app.hosting import Host
from annexd.app.invocation import HandedOver
from annexd.app.logs import printer
from annexd.app.neighbours import Neighbours
from annexd.app.network import Network
from annexd.app.nodes import TOR_SOCKS, Nodes
from annexd.app.notify import Notify
from annexd.app.onion_listener import OnionListener
from annexd.app.onion_places import socks_of
from annexd.app.p2pauth import GitAnnexTokens
from annexd.app.plan import Current, Plan
from annexd.app.proxying import Proxying
from annexd.app.reception import Reception
from annexd.app.repairs import Repairs
from annexd.app.shell import Shell
from annexd.app.ssh_listener import SshListener
from annexd.app.state import state_directory
from annexd.app.steward import Steward
from annexd.app.token_file import TokenFile
from annexd.app.tokens import Tokens
from annexd.flow.disks import Disks
from annexd.flow.mounts import Mounts, MountTable
from annexd.flow.workers import ThreadedWorkers
from annexd.repo.changes import InotifyWatch
from annexd.repo.git import Git
from annexd.repo.git_apart import GitApart
from annexd.repo.local import Repository, no_watch
from annexd.router.directory import Directory
from annexd.router.places import Place
from annexd.transports.handoff import Door, Handoff, own_uids

_audit = Logger(namespace=AUDIT)


def gateway(reactor: Any, plan: Plan, environ: Mapping[str, str], log: IO[str] | None) -> Gateway:
    """
    The daemon, not started yet.  ``log`` is where it writes what happens;
    `None` leaves that to the caller.  Raises `ConfigError`.
    """
    current = Current(plan)
    daemon = current.config.daemon
    workers = ThreadedWorkers(reactor, daemon.disk_threads, daemon.transfer_threads)
    disks = _disks(reactor, current)
    directory = _directory(reactor, workers, disks, current)
    sessions = Sessions(reactor, daemon.max_sessions, detailed=daemon.tells_all)
    state = state_directory(daemon.state_directory, environ)
    socket = plan.socket_path(current.config, environ)
    tokens = _tokens(reactor, workers, state, sessions, directory, current)
    proxying = _proxying(reactor, directory, current, environ, state)
    repairs = Repairs(reactor, directory, proxying)
    steward = Steward(reactor, directory, proxying, repairs, lambda: current.config.served)
    host = Host(reactor, directory, sessions, current, proxying)
    shell = Shell(host)
    anteroom = Anteroom(lambda: current.config.daemon.max_unauthenticated)
    guessing = Guessing(reactor)
    reception = Reception(host, tokens.admission, anteroom, guessing)
    ssh = SshListener(reactor, current, shell, sessions, workers.disk, anteroom, guessing, state)

    async def answer(handoff: Handoff) -> None:
        if handoff.kind == b"shell":
            await shell.answer(_logged_in(HandedOver(reactor, handoff)))
        else:
            handoff.answer_json(await control.answer(handoff.kind, handoff.fields))

    made = Gateway(
        reactor,
        Parts(
            current=current,
            socket=socket,
            workers=workers,
            directory=directory,
            sessions=sessions,
            door=Door(reactor, answer, own_uids(), current.deadlines.handshake),
            notify=Notify(environ),
            printer=None if log is None else printer(daemon.log_format, daemon.log_level, environ, log),
            listeners=_listeners(reactor, current, reception, ssh, state, socket),
            attendants=(Audit(globalLogPublisher, lambda: current.config.audit.file), tokens, proxying),
            background=(repairs,),
            disks=disks,
        ),
    )
    control = Control(
        reactor,
        sessions,
        made.listeners,
        directory.opened,
        made.reload,
        tokens.check,
        lambda: _where(state, current),
        {**steward.requests, b"address": Neighbours(lambda: current.config, state, workers.disk).answer},
        steward.ailing,
    )
    return made


def _tokens(
    reactor: Any,
    workers: ThreadedWorkers,
    state: str,
    sessions: Sessions,
    directory: Directory[Repository],
    current: Current,
) -> Tokens:
    return Tokens(
        reactor,
        workers.disk,
        TokenFile(state),
        sessions,
        directory.same,
        lambda: GitAnnexTokens(current.config.served, directory.disk_at),
    )


def _proxying(
    reactor: Any,
    directory: Directory[Repository],
    current: Current,
    environ: Mapping[str, str],
    state: str,
) -> Proxying:
    def tor_socks() -> str:
        config = current.config
        return config.nodes.tor_socks or socks_of(config.listen.tor, state) or TOR_SOCKS

    nodes = Nodes(reactor, directory, lambda: current.config.nodes, environ, tor_socks)
    return Proxying(reactor, directory, nodes, lambda: current.config.nodes, environ)


def _listeners(
    reactor: Any, current: Current, reception: Reception, ssh: SshListener, state: str, socket: str
) -> tuple[Listener, ...]:
    return (
        Network(reactor, current, Certificates(reactor, state), reception),
        ssh,
        *(
            OnionListener(reactor, current, reception, ssh, state, socket, number)
            for number, _ in enumerate(current.config.listen.onions)
        ),
    )


def _disks(reactor: Any, current: Current) -> Disks:
    daemon = current.config.daemon
    return Disks(
        reactor,
        Mounts(MountTable()),
        lambda: current.config.nodes.answer,
        daemon.disk_threads,
        daemon.transfer_threads,
    )


def _directory(
    reactor: Any, workers: ThreadedWorkers, disks: Disks, current: Current
) -> Directory[Repository]:
    program = os.fsencode(current.config.daemon.git_annex)

    async def open_repository(place: Place) -> Repository:
        disk = disks.under(place.git_dir, place.content or place.git_dir)
        disk.file = os.path.join(place.git_dir, b"config")
        return await Repository.open(
            place.git_dir,
            workers=disk,
            clock=reactor,
            fsync=place.served.fsync,
            program=program,
            open_watch=(lambda touched: InotifyWatch(reactor, touched)) if disk.plain else no_watch,
            make_git=Git if disk.plain else GitApart,
        )

    return Directory(reactor, workers.disk, open_repository, current.config.served, disks)


def _logged_in(asked: HandedOver) -> HandedOver:
    _audit.debug(
        "{event} of {principal} from {address}",
        event="login",
        principal=asked.principal,
        address=asked.address,
        transport=asked.transport,
    )
    return asked


def _where(state: str, current: Current) -> dict[str, Any]:
    """For those who change what the daemon reads."""
    served = [{"path": os.fsdecode(one.path), "nested": one.nested} for one in current.config.served]
    return {"state": state, "config": current.plan.file, "served": served}
