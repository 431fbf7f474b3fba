"""
A tor's control port, as the parts of `annexd.transports.onion`.

txtorcon speaks the language and opens the door; what is said is written here,
for its own onion services take a collision of addresses for success, know no
client authorization, and go on for ever where tor does not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from txtorcon import TorControlProtocol, TorProtocolError
from txtorcon.torcontrolprotocol import TorDisconnectError

from annexd.errors import Unavailable
from annexd.transports.onion import Told
from annexd.transports.onion_key import OnionKey
from annexd.transports.onion_moorings import Moorings

_log = Logger()

_ANSWER_S = 30.0
_BEAT_S = 60.0
"""A tor that hangs, or has forgotten the service, is found out within this time."""

_COLLISION = "550"


@dataclass(frozen=True, slots=True)
class Service:
    """
    ``target`` is the path of a unix socket; ``clients`` are public x25519 keys
    in base32; ``more`` are further ports with their sockets.
    """

    key: OnionKey
    port: int
    target: str
    clients: tuple[str, ...] = ()
    proof_of_work: bool = False
    more: tuple[tuple[int, str], ...] = ()

    @property
    def command(self) -> str:
        words = [f"ADD_ONION {self.key.for_control}"]
        if self.clients:
            words.append("Flags=V3Auth")
        if self.proof_of_work:
            words.append("PoWDefensesEnabled=1")
        for port, target in ((self.port, self.target), *self.more):
            words.append(f"Port={port},unix:{target}")
        words += [f"ClientAuthV3={client}" for client in self.clients]
        return " ".join(words)


class Speaker(Protocol):
    """What is needed of `txtorcon.TorControlProtocol`."""

    transport: Any

    def queue_command(self, cmd: str) -> Deferred[str]: ...
    def add_event_listener(self, evt: str, callback: Callable[[str], None]) -> Deferred[object]: ...
    def when_disconnected(self) -> Deferred[object]: ...


async def speaker(endpoint: IStreamClientEndpoint, password: str | None) -> Speaker:
    """
    A control connection, authenticated by the cookie or the ``password``.
    Raises `Unavailable`; whoever waits for it may be cancelled.
    """
    speaking = TorControlProtocol(None if password is None else lambda: password)
    connecting = connectProtocol(endpoint, speaking)  # type: ignore[no-untyped-call]
    try:
        protocol: Any = await connecting
    except CancelledError:
        raise
    except Exception as error:
        raise Unavailable(f"there is no control port: {_said(error)}") from error
    try:
        await protocol.post_bootstrap
    except CancelledError:
        protocol.transport.abortConnection()
        raise
    except Exception as error:
        protocol.transport.abortConnection()
        raise Unavailable(f"the control port lets us not in: {_said(error)}") from error
    return protocol  # type: ignore[no-any-return]


class ControlPort:
    """
    A `annexd.transports.onion.Control`; the service is there for as long as the
    connection.  Without a ``service`` to add tor has it in its own
    configuration, under ``hostname``.
    """

    def __init__(
        self, clock: IReactorTime, protocol: Speaker, told: Told, hostname: str, service: Service | None
    ) -> None:
        self._clock = clock
        self._protocol = protocol
        self._told: Told | None = told
        self._hostname = hostname
        self._service = service
        self._added = False
        self._asked_for = False
        self._uploaded = False
        self._beat: IDelayedCall | None = None
        self._beating: Deferred[None] | None = None
        self._moorings = Moorings(clock, hostname, self._circuits, self._drifting)
        protocol.when_disconnected().addBoth(self._disconnected)

    # --- what the machine asks for -------------------------------------

    async def follow(self) -> None:
        for event, hear in (
            ("HS_DESC", self._descriptor),
            ("STATUS_CLIENT", self._status),
            ("CIRC", self._moorings.heard),
        ):
            await self._in_time(self._protocol.add_event_listener(event, hear))
        await self._look()
        self._beat = self._clock.callLater(_BEAT_S, self._begin_beat)

    async def publish(self) -> None:
        again, self._asked_for = self._asked_for, True
        if self._service is None:
            if again:
                await self._renew()
            elif self._uploaded and self._told is not None:
                self._told.uploaded()  # tor was faster than we
            return
        identity = self._hostname.removesuffix(".onion")
        try:
            await self._ask(f"DEL_ONION {identity}")
        except TorProtocolError:
            pass  # as it should be: there is none
        try:
            await self._ask(self._service.command)
        except TorProtocolError as error:
            raise Unavailable(_refused(self._hostname, error)) from None
        self._added = True

    async def _renew(self) -> None:
        """What tor has from its torrc, taken away and given again, so that it forgets what it tried."""
        try:
            lines = (await self._ask("GETCONF HiddenServiceOptions")).splitlines()
            settings = [line.partition("=") for line in lines if "=" in line]
            await self._ask("RESETCONF HiddenServiceDir")
            given = " ".join(f'{name}="{_quoted(value)}"' for name, _, value in settings)
            await self._ask(f"SETCONF {given}")
        except TorProtocolError as error:
            raise Unavailable(f"tor does not take its service again: {error.text}") from None

    async def _circuits(self) -> str:
        return await self._ask("GETINFO circuit-status")

    def _drifting(self) -> None:
        if self._told is not None:
            self._told.adrift("nobody could get to it any more")

    def close(self) -> None:
        self._told = None
        self._moorings.close()
        if self._beat is not None and self._beat.active():
            self._beat.cancel()
        if self._beating is not None:
            self._beating.cancel()
        self._protocol.transport.abortConnection()

    # --- what tor says -------------------------------------------------

    def _descriptor(self, said: str) -> None:
        """As in ``UPLOADED ADDRESS UNKNOWN $FINGERPRINT~NAME``."""
        words = said.split()
        if len(words) > 1 and f"{words[1]}.onion" == self._hostname:
            if words[0] == "UPLOADED":
                self._uploaded = True
                self._moorings.published()
                if self._told is not None:
                    self._told.uploaded()
            elif words[0] == "FAILED":
                _log.debug("tor says {said}", said=said)

    def _status(self, said: str) -> None:
        """As in ``NOTICE BOOTSTRAP PROGRESS=45 TAG=... SUMMARY="..."``."""
        percent = progress(said)
        if percent is not None and self._told is not None:
            self._told.progress(percent)

    def _disconnected(self, result: object) -> None:
        told, self._told = self._told, None
        if told is not None:
            told.lost("tor has closed the control connection")

    # --- heart beats ---------------------------------------------------

    def _begin_beat(self) -> None:
        self._beating = Deferred.fromCoroutine(self._look())
        self._beating.addCallbacks(self._beat_again, self._beat_missed)

    def _beat_again(self, result: None) -> None:
        self._beating = None
        self._beat = self._clock.callLater(_BEAT_S, self._begin_beat)

    def _beat_missed(self, failure: Failure) -> None:
        self._beating = None
        if self._told is not None and not isinstance(failure.value, CancelledError):
            self._told.lost(_said(failure.value))

    async def _look(self) -> None:
        """How far tor is, and whether it still has what it was given.  Raises `Unavailable`."""
        try:
            self._status(await self._ask("GETINFO status/bootstrap-phase"))
            if self._added:
                onions = await self._ask("GETINFO onions/current")
                if self._hostname.removesuffix(".onion") not in onions:
                    raise Unavailable("tor does not have the service any more")
        except TorProtocolError as error:
            raise Unavailable(f"tor does not say how it is: {_said(error)}") from None

    async def _ask(self, command: str) -> str:
        """Raises `TorProtocolError` and `Unavailable`."""
        return str(await self._in_time(self._protocol.queue_command(command)))

    async def _in_time(self, answer: Deferred[Any]) -> Any:
        try:
            return await answer.addTimeout(_ANSWER_S, self._clock, _late)
        except TorDisconnectError:
            raise Unavailable("tor has closed the control connection") from None


def progress(said: str) -> int | None:
    """The percentage in a report on bootstrapping; `None` of another one."""
    words = said.replace("status/bootstrap-phase=", "").split()
    if "BOOTSTRAP" not in words:
        return None
    for word in words:
        name, _, value = word.partition("=")
        if name == "PROGRESS" and value.isdigit():
            return int(value)
    return None


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _late(result: object, seconds: float) -> None:
    raise Unavailable(f"tor does not answer within {seconds:g} seconds")


def _refused(hostname: str, error: TorProtocolError) -> str:
    """What it was asked for has the key in it, and is not repeated."""
    if str(error.code) == _COLLISION and "collision" in str(error.text).lower():
        return f"tor has {hostname} already: from another annexd, or in its torrc"
    return f"tor does not take the service: {error.text}"


def _said(error: BaseException | None) -> str:
    text = getattr(error, "text", None) or getattr(error, "osError", None) or str(error)
    return str(text).strip().rstrip(".") or type(error).__name__
