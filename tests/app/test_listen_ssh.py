"""[listen.ssh] of annexd.toml."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.config import parse
from annexd.app.listen_ssh import ListenSsh
from annexd.errors import ConfigError
from annexd.transports.address import Address


def read(text: str) -> ListenSsh | None:
    return parse("[listen.ssh]\n" + text, "annexd.toml").listen_ssh


class Good(SynchronousTestCase):
    def test_none(self) -> None:
        self.assertIsNone(parse("", "f").listen_ssh)

    def test_least(self) -> None:
        self.assertEqual(
            ListenSsh((Address("::", 2222),), authorized_keys="/k"),
            read('address = "[::]:2222"\nauthorized-keys = "/k"\n'),
        )

    def test_most(self) -> None:
        self.patch(os, "environ", {**os.environ, "HOME": "/home/me"})
        self.assertEqual(
            ListenSsh(
                (Address("0.0.0.0", 22), Address("::1", 23)), ("/a", "/home/me/b"), users="/etc/annexd/users"
            ),
            read(
                'address = ["0.0.0.0:22", "[::1]:23"]\nhost-key = ["/a", "~/b"]\n'
                'users = "/etc/annexd/users/"\n'
            ),
        )


class Bad(SynchronousTestCase):
    def assert_says(self, text: str, *sentences: str) -> None:
        error = self.assertRaises(ConfigError, read, text)
        self.assertEqual(list(sentences), str(error).split("\n"))

    def test_nothing(self) -> None:
        self.assert_says(
            "",
            "annexd.toml:1: listen.ssh needs one of authorized-keys and users, and not both",
            "annexd.toml:1: listen.ssh.address is missing",
        )

    def test_both(self) -> None:
        self.assert_says(
            'address = "[::]:22"\nauthorized-keys = "/k"\nusers = "/u"\n',
            "annexd.toml:1: listen.ssh needs one of authorized-keys and users, and not both",
        )

    def test_addresses(self) -> None:
        for value, sentence in (
            ("2222", "must be a text in quotes, not 2222"),
            ('"2222"', 'must be an address and a port, as in "[::]:2222" or "127.0.0.1:2222", not \'2222\''),
            ("[]", 'must be a list of texts, as in ["alice", "b*"], not an empty list'),
        ):
            self.assert_says(
                f'authorized-keys = "/k"\naddress = {value}\n',
                f"annexd.toml:3: listen.ssh.address: {sentence}",
            )

    def test_unknown(self) -> None:
        self.assert_says(
            'address = "[::]:22"\nusers = "/u"\nport = 22\n',
            "annexd.toml:4: listen.ssh.port: unknown key; listen.ssh has address, host-key, authorized-keys, users",
        )

    def test_paths(self) -> None:
        self.assert_says(
            'address = "[::]:22"\nusers = "u"\nhost-key = "k"\n',
            "annexd.toml:3: listen.ssh.users: must be an absolute path, not 'u'",
            "annexd.toml:4: listen.ssh.host-key: must be an absolute path, not 'k'",
        )

    def test_tables(self) -> None:
        for text, sentence in (
            ("listen = 1\n", "annexd.toml:1: listen must be a table"),
            ("[listen]\nssh = 1\n", "annexd.toml:2: listen.ssh must be a table"),
        ):
            self.assertEqual(sentence, str(self.assertRaises(ConfigError, parse, text, "annexd.toml")))
