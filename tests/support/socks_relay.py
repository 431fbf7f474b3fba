"""Passes connections to 127.0.0.1:9050 on to a unix socket; for a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_PIECE = 64 * 1024


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _relay(path: str) -> None:
    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(path)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))

    server = await asyncio.start_server(came, "127.0.0.1", 9050)
    print("ready", flush=True)
    # Until whoever started us is gone.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    bring_up_loopback()
    asyncio.run(_relay(sys.argv[1]))
    sys.stdout.flush()
    import os

    os._exit(0)
