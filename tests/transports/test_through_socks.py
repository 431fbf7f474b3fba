"""Connections through a SOCKS port, from a tor that is played."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from annexd.errors import Unavailable
from annexd.transports.through_socks import connected_through

_ASKED = b"\x05\x01\x02" + b"\x01\x06annexd\x04node" + b"\x05\x01\x00\x03\x07x.onion\x1b\x59"
_YES = b"\x05\x02\x01\x00"
_IPV4 = b"\x05\x00\x00\x01" + b"\0" * 6
_IPV6 = b"\x05\x00\x00\x04" + b"\0" * 18
_NAME = b"\x05\x00\x00\x03\x02ab\0\0"


class ThroughSocks(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.path = str(Path(self.mktemp()).absolute())
        self.path = self.path if len(self.path) < 100 else f"/tmp/annexd-socks-{id(self)}"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.heard = b""
        self.threads: list[threading.Thread] = []
        self.addCleanup(self.listening.close)
        self.addCleanup(Path(self.path).unlink)

    def play(self, answers: bytes) -> None:
        """To one who comes, a byte at a time."""

        def tor() -> None:
            sock, _ = self.listening.accept()
            with sock:
                sock.settimeout(10)
                for byte in answers:
                    sock.sendall(bytes([byte]))
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(1000):
                    self.heard += data

        thread = threading.Thread(target=tor)
        thread.start()
        self.addCleanup(thread.join, 10)

    async def come(self, socks: str | None = None) -> socket.socket:
        where = socks or self.path
        return await connected_through(self.reactor, where, "x.onion", 7001, ("annexd", "node"))

    async def assert_fails(self, answers: bytes, words: str) -> None:
        self.play(answers)
        try:
            (await self.come()).close()
        except Unavailable as error:
            self.assertIn(words, str(error))
        else:
            self.fail("it was answered")

    async def test_answered(self) -> None:
        """Whatever address it tells; and what the peer says at once is left for others."""
        for answer in (_IPV4, _IPV6, _NAME):
            self.heard = b""
            self.play(_YES + answer + b"AUTH")
            sock = await self.come()
            sock.setblocking(True)
            self.assertEqual(sock.recv(100, socket.MSG_WAITALL), b"AUTH")
            self.assertFalse(sock.get_inheritable())
            sock.close()

    async def test_what_is_asked(self) -> None:
        self.play(_YES + _IPV4)
        (await self.come()).close()
        while len(self.heard) < len(_ASKED):
            pause: Deferred[None] = Deferred()
            self.reactor.callLater(0.01, pause.callback, None)
            await pause
        self.assertEqual(self.heard, _ASKED)

    async def test_refused(self) -> None:
        await self.assert_fails(_YES + b"\x05\x01\x00\x01", "did not take the connection")
        await self.assert_fails(_YES + b"\x05\x04\x00\x01", "no way to it")
        await self.assert_fails(b"\x05\xff", "takes no user names")
        await self.assert_fails(b"\x05\x02\x01\x01", "not for us")
        await self.assert_fails(_YES + b"\x05\x00\x00\x07", "makes no sense")
        await self.assert_fails(_YES + b"\x05\x00", "hung up")

    async def test_no_tor(self) -> None:
        for socks, words in (
            (self.path + "-", "tor is not at"),
            ("127.0.0.1:1", "nothing listens on port 1"),
        ):
            try:
                await self.come(socks)
            except Unavailable as error:
                self.assertIn(words, str(error))
            else:
                self.fail("there is one")

    async def test_given_up(self) -> None:
        """The socket is closed with the wait."""
        coming = Deferred.fromCoroutine(self.come())
        self.listening.settimeout(10)
        sock, _ = self.listening.accept()
        with sock:
            coming.addErrback(lambda _: None)
            coming.cancel()
            sock.settimeout(10)
            while sock.recv(100):
                pass
