"""
The commands of one user on one connection, each in a channel of its own.

No forwarding of any kind, no terminals, no subsystems: everything but commands
is refused.
"""

from __future__ import annotations

import struct
from typing import Any, Callable

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN_FAILURE,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
    SSHConnection,
)
from twisted.conch.ssh.transport import DISCONNECT_PROTOCOL_ERROR
from twisted.internet.interfaces import IReactorTime

from annexd.transports.ssh.channel import WINDOW, Channel
from annexd.transports.ssh.conch import said_by_conch

_DATA = struct.Struct(">2L")
_EXTENDED_DATA = struct.Struct(">3L")
_OPENING = struct.Struct(">3L")

_SMALLEST_PACKET = 1024
# A peer that wants its data by the byte wants our time.

_WIDE = 8
NARROW_WINDOW = 256 * 1024
"""Of the channels that come after some wide ones, so that all together cost no more memory than is sane."""

Perform = Callable[[Channel, bytes], None]
"""Runs a command in its channel, of which an empty one is a wish for a shell."""


class Connection(SSHConnection):
    """``most`` channels at a time; ``stall`` is in seconds."""

    def __init__(self, clock: IReactorTime, perform: Perform, most: int, stall: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = said_by_conch
        self._clock = clock
        self._stall = stall
        self._unsent: dict[Channel, None] = {}
        self._undelivered: dict[Channel, None] = {}
        self.perform = perform
        self.most = most
        self.held = False
        """Nothing may be written now: the connection is full, or new keys are being agreed on."""
        self.when_empty: Callable[[], None] = _nothing
        """Called when the last channel is closed."""

        self.when_waiting: Callable[[], None] = _nothing
        """Called when a channel has more to say than there is room for, at the latest."""

    # --- from the peer -------------------------------------------------

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        kind, rest = getNS(packet)
        sender, _window, most = _OPENING.unpack_from(rest)
        refusal = self._refusal(kind, most)
        if refusal is None:
            super().ssh_CHANNEL_OPEN(packet)  # type: ignore[no-untyped-call]
        else:
            reason, sentence = refusal
            answer = struct.pack(">2L", sender, reason) + NS(sentence) + NS(b"")
            self._send(MSG_CHANNEL_OPEN_FAILURE, answer)

    def _refusal(self, kind: bytes, packet: int) -> tuple[int, str] | None:
        if kind != b"session":
            return OPEN_ADMINISTRATIVELY_PROHIBITED, "nothing is forwarded here"
        if packet < _SMALLEST_PACKET:
            return OPEN_CONNECT_FAILED, f"packets of less than {_SMALLEST_PACKET} bytes are not sent here"
        if len(self.channels) >= self.most:
            return OPEN_RESOURCE_SHORTAGE, f"one connection may run {self.most} commands at a time"
        return None

    def getChannel(self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes) -> Channel:
        own = WINDOW if len(self.channels) < _WIDE else NARROW_WINDOW
        return Channel(self, self._clock, self._stall, windowSize, maxPacket, own)

    def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
        """Conch grants more window here; the channel does that when the data has been taken."""
        number, length = _DATA.unpack_from(packet)
        channel: Channel = self.channels[number]
        if self._fits(channel, length, len(packet) - _DATA.size):
            channel.localWindowLeft -= length
            channel.dataReceived(packet[_DATA.size :])
            self._undelivered[channel] = None

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        """Clients have no standard error to send."""
        number, _kind, length = _EXTENDED_DATA.unpack_from(packet)
        channel: Channel = self.channels[number]
        if self._fits(channel, length, len(packet) - _EXTENDED_DATA.size):
            channel.localWindowLeft -= length
            channel.grant()

    def ssh_CHANNEL_EOF(self, packet: bytes) -> None:
        super().ssh_CHANNEL_EOF(packet)  # type: ignore[no-untyped-call]
        self._undelivered[self.channels[int.from_bytes(packet[:4], "big")]] = None

    def ssh_CHANNEL_CLOSE(self, packet: bytes) -> None:
        """What the peer said before is not lost."""
        self.deliver()
        super().ssh_CHANNEL_CLOSE(packet)  # type: ignore[no-untyped-call]

    def deliver(self) -> bool:
        """
        All packets that have come at once have been read: give what was in
        them to their readers.  Whether there was anything.
        """
        some = bool(self._undelivered)
        while self._undelivered:
            self._undelivered.popitem()[0].deliver()
        return some

    def _fits(self, channel: Channel, length: int, came: int) -> bool:
        if length == came and length <= channel.localWindowLeft and length <= channel.localMaxPacket:
            return True
        sentence = b"the peer has sent more than there was room for"
        self._link.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, sentence)
        return False

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> int:
        return 0

    def channelClosed(self, channel: Channel) -> None:
        self._unsent.pop(channel, None)
        super().channelClosed(channel)  # type: ignore[no-untyped-call]
        if not self.channels:
            self.when_empty()

    # --- to the peer ---------------------------------------------------

    def sendData(self, channel: Channel, data: bytes | memoryview) -> None:
        if not channel.localClosed:
            remote = self.channelsToRemoteChannel[channel]
            self._send(MSG_CHANNEL_DATA, b"".join((_DATA.pack(remote, len(data)), data)))

    def ping(self) -> None:
        """Ask for any answer; clients refuse what is asked, which is one."""
        asked = self.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)  # type: ignore[no-untyped-call]
        asked.addErrback(lambda _: None)

    def wait(self, channel: Channel) -> None:
        """``channel`` has more to say than there is room for."""
        self._unsent[channel] = None
        self.when_waiting()

    @property
    def waiting(self) -> bool:
        """Some channel has more to say than there is room for."""
        return any(channel.unsent for channel in self._unsent)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        """There is room again: the channels write in turn, until there is none."""
        self.held = False
        for channel in list(self._unsent):
            if self.held:
                return
            self._unsent.pop(channel, None)
            channel.flush()
            if channel.unsent:
                self._unsent[channel] = None

    def _send(self, kind: int, payload: bytes) -> None:
        self._link.sendPacket(kind, payload)

    @property
    def _link(self) -> Any:
        return self.transport


def _nothing() -> None:
    pass
