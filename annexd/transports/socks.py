"""SOCKS 5, as far as it takes to ask a tor for a connection (RFC 1928; Tor's socks-extensions)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from annexd.errors import Unavailable

_GREETING = b"\x05\x01\x00"
_REQUEST = b"\x05\x01\x00\x03"
_ADDRESS_SIZES = {1: 4, 4: 16}

_REASONS = {
    1: "tor reached the service, but that did not take the connection",
    2: "tor does not allow it",
    3: "there is no way through the network",
    4: "tor knows no way to it",
    5: "nobody took the connection",
    6: "the circuit ended too soon",
    0xF0: "no directory has its descriptor",
    0xF1: "its descriptor makes no sense",
    0xF2: "the introduction failed",
    0xF3: "the rendezvous failed",
    0xF4: "it wants a key of its clients",
    0xF5: "its client key is wrong",
    0xF6: "it is no onion address",
    0xF7: "the introduction took too long",
}


def reason(code: int) -> str:
    """What a SOCKS port means by the code of its answer, which is not 0."""
    return _REASONS.get(code, f"SOCKS error {code}")


async def dial(endpoint: IStreamClientEndpoint, host: str, port: int) -> None:
    """
    A connection by the SOCKS port at ``endpoint``, which is closed as soon as
    it is there.  Raises `Unavailable`.
    """
    connecting = connectProtocol(endpoint, _Dial(host, port))  # type: ignore[no-untyped-call]
    try:
        dialling: Any = await connecting
    except CancelledError:
        raise
    except Exception as error:
        raise Unavailable(f"there is no SOCKS port: {error}") from error
    try:
        await dialling.done
    finally:
        dialling.transport.abortConnection()


class _Dial(Protocol):
    def __init__(self, host: str, port: int) -> None:
        name = host.encode("ascii")
        self._request = _REQUEST + bytes([len(name)]) + name + port.to_bytes(2, "big")
        self._received = bytearray()
        self._greeted = False
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._write(_GREETING)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if not self._greeted and len(self._received) >= 2:
            self._greeted = True
            if self._received[1] != 0:
                self._end("the SOCKS port wants to know who we are")
            del self._received[:2]
            self._write(self._request)
        if self._greeted and len(self._received) >= 2:
            code = self._received[1]
            self._end("" if code == 0 else reason(code))

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self._end("the SOCKS port hung up")

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _end(self, problem: str) -> None:
        done = self.done
        if done.called:
            return
        if problem:
            done.errback(Unavailable(f"its own address does not answer: {problem}"))
        else:
            done.callback(None)
