"""The line for `git annex p2p --link`."""

from __future__ import annotations

import os
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.invitations import invitation, label
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

    @given(st.binary().map(lambda path: b"/" + path))
    def test_any_path(self, path: bytes) -> None:
        """One word that nobody makes something else of, short enough for the name of git-annex's file."""
        found = label(path)
        self.assertRegex(found, r"\A[a-z0-9_-]{6,27}\Z")
        self.assertFalse(found.startswith("-"))
        address = invitation(PINNED, path, SECRET).rpartition(":")[0].removeprefix("p2p-annex::")
        escaped = re.sub("[^A-Za-z0-9]", "%00", address)
        self.assertLessEqual(len(os.fsencode(escaped)), 255)
