"""
Standard input and output over TLS, as a program: what stock git-annex runs for
``p2p-annex::annexd:`` remotes, as small as can be.

    over_tls.py HOST:PORT,sha256=HEX[,label=...]

With a token in ``ANNEXD_TEST_TOKEN`` it says AUTH first; then what it relays is
what a forced command would.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import ssl
import sys


class Relay:
    def __init__(self, address: str) -> None:
        place, *settings = address.split(",")
        host, _, port = place.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._shake()
        certificate = hashlib.sha256(self._tls.getpeercert(binary_form=True) or b"").hexdigest()
        if f"sha256={certificate}" not in settings:
            sys.exit("this is somebody else")
        self._socket.settimeout(None)

    def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._hear()
            finally:
                self._flush()

    def say(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def run(self) -> int:
        waiting: list[int | socket.socket] = [0, self._socket]
        while True:
            ready = select.select(waiting, [], [])[0]
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if data:
                    self.say(data)
                else:
                    waiting.remove(0)
                    self._bid_farewell()
            if self._socket in ready and not self._relay_output():
                return 0

    def _relay_output(self) -> bool:
        if not self._hear():
            return False
        while True:
            try:
                data = self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                return True
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                return False
            while data:
                data = data[os.write(1, data) :]

    def _hear(self) -> bool:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self._incoming.write(data)
        return bool(data)

    def _bid_farewell(self) -> None:
        """What comes afterwards is still listened to."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            try:
                self._socket.sendall(data)
            except ConnectionError:
                pass  # what it said last is still to be read


if __name__ == "__main__":
    relay = Relay(sys.argv[1])
    token = os.environ.get("ANNEXD_TEST_TOKEN")
    if token:
        relay.say(f"AUTH client {token}\n".encode())
    sys.exit(relay.run())
