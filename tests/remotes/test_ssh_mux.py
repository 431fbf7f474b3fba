"""OpenSSH's multiplexing protocol, byte by byte."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import FramingError
from annexd.remotes import ssh_mux
from annexd.remotes.ssh import command_line, quoted
from annexd.remotes.ssh_mux import Exit, Hello, Opened, Other, Refusal, Replies, Reply


def packet(kind: int, *numbers: int, tail: bytes = b"") -> bytes:
    payload = struct.pack(f">{1 + len(numbers)}I", kind, *numbers) + tail
    return struct.pack(">I", len(payload)) + payload


CONVERSATION = b"".join(
    [
        packet(0x00000001, 4),
        packet(0x80000006, 1, 7),
        packet(0x80000003, 1, 7, tail=b"refused"),
        packet(0x80000002, 2, 2, tail=b"no"),
        packet(0x80000004, 7, 255),
        packet(0x80000001, 3),
    ]
)
MEANING: list[Reply] = [
    Hello(4),
    Opened(1, 7),
    Refusal(1, "refused"),
    Refusal(2, "no"),
    Exit(7, 255),
    Other(0x80000001),
]


def heard(replies: Replies) -> list[Reply]:
    found = []
    while (reply := replies.next()) is not None:
        found.append(reply)
    return found


class Codec(SynchronousTestCase):
    def test_replies_in_any_pieces(self) -> None:
        for size in 1, 3, 17, len(CONVERSATION):
            replies, found = Replies(), []
            for at in range(0, len(CONVERSATION), size):
                replies.feed(CONVERSATION[at : at + size])
                found += heard(replies)
            self.assertEqual(found, MEANING)

    def test_what_is_no_ssh(self) -> None:
        for data in b"\0\0\0\0", b"SSH-2.0-OpenSSH\r\n", packet(0x80000006, 1), b"\0\0\0\2ab":
            replies = Replies()
            replies.feed(data)
            self.assertRaises(FramingError, heard, replies)

    @given(st.binary(max_size=60))
    def test_nothing_else_is_raised(self, data: bytes) -> None:
        replies = Replies()
        replies.feed(data)
        try:
            heard(replies)
        except FramingError:
            pass

    def test_requests(self) -> None:
        self.assertEqual(ssh_mux.hello(), bytes.fromhex("00000008 00000001 00000004"))
        expected = packet(0x10000002, 5, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0, 3, tail=b"cmd")
        self.assertEqual(ssh_mux.new_session(5, b"cmd"), expected)


class Commands(SynchronousTestCase):
    def test_as_stock_clients_write_them(self) -> None:
        self.assertEqual(
            command_line(b"git-annex-shell", b"/srv/a b", b"u-1", b"me"),
            b"git-annex-shell 'p2pstdio' '/srv/a b' 'me' --uuid u-1",
        )

    def test_nothing_else_is_run(self) -> None:
        command = command_line(b"git-annex-shell", b"/x", b"u;id", b"me")
        self.assertEqual(command, b"git-annex-shell 'p2pstdio' '/x' 'me' --uuid 'u;id'")

    def test_quotes(self) -> None:
        self.assertEqual(quoted(b"it's"), b"'it'\"'\"'s'")
