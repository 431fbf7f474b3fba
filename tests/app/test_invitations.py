"""The line for `git annex p2p --link`."""

from __future__ import annotations

import os
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.config import Config
from annexd.app.invitations import invitation, label, onion_invitation
from annexd.app.listen import Listen
from annexd.app.listen_tor import Tor
from annexd.errors import ConfigError

SECRET = b"0123" * 32
PINNED = "2001:db8:1111:2222:3333:4444:5555:6666:65535,sha256=" + "a" * 64


class Invitations(SynchronousTestCase):
    def test_one_address_for_each_repository(self) -> None:
        """git-annex keeps one token for each."""
        first, second = (invitation("h:1", path, SECRET) for path in (b"/srv/a/photos", b"/srv/b/photos.git"))
        for line in (first, second):
            self.assertRegex(line, rf"^p2p-annex::annexd:h:1,label=photos-[0-9a-f]{{6}}:{SECRET.decode()}$")
        self.assertNotEqual(first, second)
        self.assertEqual(first, invitation("h:1", b"/srv/a/photos", SECRET))

    def test_a_label_of_the_user_s(self) -> None:
        line = invitation("h:1,label=mine", b"/srv/x", SECRET)
        self.assertEqual(f"p2p-annex::annexd:h:1,label=mine:{SECRET.decode()}", line)

    def test_no_address(self) -> None:
        for bad in (
            "",
            "h",
            "h:",
            ":1",
            "h:x",
            "h:1,",
            "h:1,x=1",
            "h:1 ",
            "[::1]:1",
            "h:1,label=",
            "h:1;id",
            "h:1\n",
        ):
            self.assertRaises(ConfigError, invitation, bad, b"/srv/x", SECRET)

    def test_onions(self) -> None:
        names = ["a" * 56 + ".onion", "b" * 56 + ".onion"]
        onions = [
            Tor(hidden_service=f"/var/lib/tor/{n[0]}", hostname=n, port=p) for p, n in enumerate(names, 1)
        ]
        config = Config(listen=Listen(tor=onions[0], more_tor=tuple(onions[1:])))

        def line(onion: str | None) -> str:
            return onion_invitation(config, "/nowhere", b"/srv/x", SECRET, None, onion)

        secret = SECRET.decode()
        self.assertRegex(line(None), rf"^tor-annex::x-[0-9a-f]{{6}}\.{names[0]}:1:{secret}$")
        self.assertRegex(line(names[1]), rf"^tor-annex::x-[0-9a-f]{{6}}\.{names[1]}:2:{secret}$")
        error = self.assertRaises(ConfigError, line, "c" * 56 + ".onion")
        self.assertIn(f"none of the onions here: {names[0]}, {names[1]}", str(error))
        error = self.assertRaises(ConfigError, onion_invitation, Config(), "/nowhere", b"/srv/x", SECRET)
        self.assertIn("no [listen.tor]", str(error))

    @given(st.binary().map(lambda path: b"/" + path))
    def test_any_path(self, path: bytes) -> None:
        """One word that nobody makes something else of, short enough for the name of git-annex's file."""
        found = label(path)
        self.assertRegex(found, r"\A[a-z0-9_-]{6,27}\Z")
        self.assertFalse(found.startswith("-"))
        address = invitation(PINNED, path, SECRET).rpartition(":")[0].removeprefix("p2p-annex::")
        escaped = re.sub("[^A-Za-z0-9]", "%00", address)
        self.assertLessEqual(len(os.fsencode(escaped)), 255)
