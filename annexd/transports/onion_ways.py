"""A `annexd.transports.onion.Tor` that runs already, and one that annexd starts for itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater

from annexd.errors import Unavailable
from annexd.transports import socks
from annexd.transports.onion import Control, Told
from annexd.transports.onion_control import ControlPort, Service, speaker
from annexd.transports.onion_process import TorProcess

_POLL_S = 0.1


class RunningTor:
    """
    ``control`` is its control port, ``socks_port`` the way through it;
    ``password`` is a file, or `None` where the cookie is enough.
    """

    def __init__(
        self,
        reactor: Any,
        control: IStreamClientEndpoint,
        socks_port: IStreamClientEndpoint,
        service: Service,
        password: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._control = control
        self._socks = socks_port
        self._service = service
        self._password = password

    async def connect(self, told: Told) -> Control:
        protocol = await speaker(self._control, _first_line(self._password))
        return ControlPort(self._reactor, protocol, told, self._service.key.hostname, self._service)

    async def dial(self) -> None:
        await socks.dial(self._socks, self._service.key.hostname, self._service.port)

    async def end(self) -> None:
        """It is not ours."""


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """In ``directory``, which is for nobody else: ``torrc`` is what tor reads there."""

    directory: str
    torrc: str

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)


class OwnTor:
    """
    ``program`` with ``files``; the service is in its torrc, under ``hostname``.
    It ends with the control connection, and with annexd in any case.
    """

    def __init__(self, reactor: Any, program: str, files: OwnFiles, hostname: str, port: int) -> None:
        self._reactor = reactor
        self._program = program
        self._files = files
        self._hostname = hostname
        self._port = port
        self._process: TorProcess | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def connect(self, told: Told) -> Control:
        await self.end()
        process = self._process = self._launch()
        try:
            protocol = await self._speaker(process)
            # From now on it does not outlive the connection.
            await protocol.queue_command("TAKEOWNERSHIP")
        except BaseException:
            process.leave()
            raise
        control = ControlPort(self._reactor, protocol, told, self._hostname, None)
        return _Owned(control, process)

    async def dial(self) -> None:
        await socks.dial(self._socket("socks"), self._hostname, self._port)

    async def end(self) -> None:
        """Until it is not there any more."""
        if self._process is not None:
            await self._process.end()
            self._process = None

    def _launch(self) -> TorProcess:
        torrc, control = self._files.path("torrc"), self._files.path("control")
        try:
            # What a former one left would be taken for this one's.
            if os.path.lexists(control):
                os.unlink(control)
            with open(torrc, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"__OwningControllerProcess {os.getpid()}\n{self._files.torrc}")
        except OSError as error:
            raise Unavailable(f"{error.filename or torrc}: {error.strerror}") from None
        return TorProcess(self._reactor, self._program, torrc)

    async def _speaker(self, process: TorProcess) -> Any:
        control = self._files.path("control")
        while not os.path.exists(control):
            process.check()
            await deferLater(self._reactor, _POLL_S)
        return await speaker(self._socket("control"), None)

    def _socket(self, name: str) -> IStreamClientEndpoint:
        return UNIXClientEndpoint(self._reactor, self._files.path(name))  # type: ignore[no-untyped-call]


class _Owned:
    """A control connection that the process ends with."""

    def __init__(self, control: ControlPort, process: TorProcess) -> None:
        self._process = process
        self._control = control
        self.follow = control.follow
        self.publish = control.publish

    def close(self) -> None:
        self._control.close()
        self._process.leave()


def _first_line(path: str | None) -> str | None:
    """Read each time: it may have been changed."""
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Unavailable(f"{path}: {reason}") from None
