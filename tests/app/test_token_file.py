"""What is kept of tokens, and that nothing spoils it."""

from __future__ import annotations

import json
import os
import stat
import threading
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.app import token_file
from annexd.app.access import Rights
from annexd.app.token_file import (
    Token,
    TokenFile,
    checked_name,
    checked_secret,
    digest_of,
    fresh_secret,
    moment,
)
from annexd.errors import Refused, Unavailable
from annexd.repo.locks import Locked, try_lock

DAY = 86400


def token(name: str = "x", repository: bytes = b"/srv/x", **more: object) -> Token:
    given = {"rights": Rights.READ_ONLY, "digest": digest_of(fresh_secret()), "created": 1000, **more}
    return Token(name, repository, **given)  # type: ignore[arg-type]


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.file = TokenFile(self.directory)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def test_nothing_yet(self) -> None:
        self.assertEqual(((), None, {}), (self.file.read(), self.file.stamp(), self.file.used()))

    def test_there_and_back(self) -> None:
        tokens = (
            token("a", b"/srv/caf\xff", rights=Rights.APPEND_ONLY, expires=2000),
            token("b", b"/srv/\xc3\xa9"),
        )
        self.file.add(tokens, 1000.5)
        self.assertEqual(tokens, self.file.read())

    def test_for_nobody_else(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.file.add([token()], 1000)
        self.file.note_used({}, ())
        for name in self.names():
            mode = os.stat(os.path.join(self.directory, name)).st_mode
            self.assertEqual(0o600, stat.S_IMODE(mode), name)

    def test_no_secret(self) -> None:
        secret = fresh_secret()
        self.file.add([token(digest=digest_of(secret))], 1000)
        for name in self.names():
            with open(os.path.join(self.directory, name), "rb") as file:
                self.assertNotIn(secret, file.read())

    def test_all_or_none(self) -> None:
        self.file.add([token("a")], 1000)
        before = self.file.read()
        error = self.assertRaises(Refused, self.file.add, [token("b"), token("a")], 1000)
        self.assertIn("a has a token for /srv/x already", str(error))
        self.assertEqual(before, self.file.read())

    def test_one_secret_has_one_name(self) -> None:
        digest = digest_of(b"abc")
        self.file.add([token("a", digest=digest)], 1000)
        for other in (token("b", digest=digest), token("a", b"/srv/y", digest=digest)):
            self.assertIn("a's already", str(self.assertRaises(Refused, self.file.add, [other], 1000)))

    def test_revoking(self) -> None:
        self.file.add([token("a"), token("a", b"/srv/y"), token("b")], 1000)
        [revoked] = self.file.revoke("a", [b"/srv/y"], 1500.7)
        self.assertEqual(b"/srv/y", revoked.repository)
        self.assertEqual([None, 1500, None], [t.revoked for t in self.file.read()])
        self.assertEqual(1, len(self.file.revoke("a", [], 1600)))
        for name, repositories in (("a", []), ("b", [b"/srv/y"]), ("c", [])):
            self.assertRaises(Refused, self.file.revoke, name, repositories, 1700)
        self.file.add([token("a")], 1800)

    def test_expired_ones_make_room(self) -> None:
        self.file.add([token("a", expires=1500)], 1000)
        self.assertRaises(Refused, self.file.add, [token("a")], 1499)
        self.file.add([token("a")], 1500)

    def test_history_ends(self) -> None:
        self.file.add([token("a", expires=2000), token("b"), token("c", expires=10**10)], 1000)
        self.file.revoke("c", [], 1500)
        self.file.add([token("d")], 2000 + 90 * DAY)
        self.assertEqual(["a", "b", "d"], [t.name for t in self.file.read()])

    def test_a_crash_leaves_the_former(self) -> None:
        """Whatever is half-way in the file that was to become it."""
        self.file.add([token("a")], 1000)
        before = self.file.read()
        with mock.patch("os.replace", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, self.file.add, [token("b")], 1000)
        self.assertEqual(before, self.file.read())
        with open(self.file.path + ".new", "a") as file:
            file.write("garbage" * 1000)
        self.file.add([token("c")], 1000)
        self.assertEqual(["a", "c"], [t.name for t in self.file.read()])

    def test_a_full_disk(self) -> None:
        self.file.add([token("a")], 1000)
        with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            error = self.assertRaises(Unavailable, self.file.add, [token("b")], 1000)
        self.assertIn("No space left", str(error))
        self.assertEqual(["a"], [t.name for t in self.file.read()])

    def test_many_at_once(self) -> None:
        def add(number: int) -> None:
            for repository in (b"/srv/x", b"/srv/y"):
                TokenFile(self.directory).add([token(f"t{number}", repository)], 1000)

        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(16, len({(t.name, t.repository) for t in self.file.read()}))

    def test_not_for_ever(self) -> None:
        held = try_lock(os.fsencode(self.file.path) + b".lock", exclusive=True)
        assert held is not None
        self.addCleanup(held.release)
        self.patch(token_file, "_LOCK_S", 0.0)
        self.assertRaises(Locked, self.file.add, [token()], 1000)

    def test_spoilt(self) -> None:
        for text in (
            "",
            "{",
            "[]",
            '{"tokens": 3}',
            '{"tokens": [{}]}',
            '{"tokens": [{"name": "x"}]}',
            "\xff",
        ):
            with open(self.file.path, "w", encoding="latin-1") as file:
                file.write(text)
            error = self.assertRaises(Unavailable, self.file.read)
            self.assertIn(self.file.path, str(error))
            self.assertRaises(Unavailable, self.file.add, [token()], 1000)
            with open(self.file.path, encoding="latin-1") as file:
                self.assertEqual(text, file.read(), "what cannot be read is not overwritten")

    def test_wrong_rights(self) -> None:
        self.file.add([token()], 1000)
        with open(self.file.path) as file:
            document = json.load(file)
        document["tokens"][0]["rights"] = "everything"
        with open(self.file.path, "w") as file:
            json.dump(document, file)
        self.assertRaises(Unavailable, self.file.read)

    def test_newer(self) -> None:
        self.assertIsNone(self.file.read_newer(None))
        self.file.add([token("a")], 1000)
        newer = self.file.read_newer(None)
        assert newer is not None
        self.assertIsNone(self.file.read_newer(newer[0]))
        self.file.add([token("b")], 1000)
        self.assertEqual(2, len((self.file.read_newer(newer[0]) or (0, ()))[1]))

    def test_no_directory(self) -> None:
        missing = TokenFile(os.path.join(self.directory, "missing"))
        self.assertEqual((), missing.read())
        self.assertIn("No such file", str(self.assertRaises(Unavailable, missing.add, [token()], 1)))

    def test_when_they_were_used(self) -> None:
        self.file.note_used({"d1": 5, "d2": 6}, {"d1", "d2"})
        self.file.note_used({"d1": 7, "d3": 8}, {"d1", "d3"})
        self.assertEqual({"d1": 7, "d3": 8}, self.file.used())

    def test_root_makes_files_for_the_daemon(self) -> None:
        given: list[tuple[int, int]] = []
        status = os.stat(self.directory)
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "fchown", lambda fd, uid, gid: given.append((uid, gid)))
        self.file.add([token()], 1000)
        self.assertEqual([(status.st_uid, status.st_gid)] * 2, given)


class Records(SynchronousTestCase):
    def test_until_when(self) -> None:
        self.assertIsNone(token().obstacle(1e12))
        self.assertIsNone(token(expires=2000).obstacle(1999.9))
        self.assertEqual("the token x expired on 1970-01-01 00:33 UTC", token(expires=2000).obstacle(2000))
        self.assertEqual(
            "the token x was revoked on 1970-01-01 00:16 UTC",
            token(expires=2000, revoked=1000).obstacle(3000),
        )
        self.assertEqual("token:x", token().principal)
        self.assertEqual("2026-11-22 00:00 UTC", moment(1795305600))

    def test_secrets_of_our_own(self) -> None:
        made = {fresh_secret() for _ in range(50)}
        self.assertEqual(50, len(made))
        for secret in made:
            self.assertRegex(secret, rb"^[0-9a-f]{128}$")
            self.assertEqual(secret, checked_secret(secret))

    def test_secrets_of_others(self) -> None:
        self.assertEqual(b"abc019" * 6, checked_secret(b" ABC019" + b"abc019" * 5 + b"\n"))
        for bad, words in (
            (b"", "letters a to z"),
            (b"a" * 31, "this one has 31"),
            (b"a" * 1025, "this one has 1025"),
            (b"a" * 40 + b"-", "letters a to z"),
            (b"a" * 40 + b"\xc3\xa9", "letters a to z"),
            (b"a" * 40 + b"\n" + b"b" * 40, "letters a to z"),
        ):
            self.assertIn(words, str(self.assertRaises(Refused, checked_secret, bad)))

    def test_names(self) -> None:
        for name in ("a", "Back-up_1", "me@host.example", "1+2"):
            self.assertEqual(name, checked_name(name))
        for name in ("", "-a", "a b", "a\n", "é", "a" * 65, "git-annex", "a/b", "a:b", "*"):
            self.assertRaises(Refused, checked_name, name)

    @given(st.binary())
    def test_any_secret(self, text: bytes) -> None:
        try:
            secret = checked_secret(text)
        except Refused:
            return
        self.assertRegex(secret, rb"\A[a-z0-9]{32,1024}\Z")
