"""Paths, compared with those that git-annex uses (``git annex examinekey``, and strace)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.keys import Key
from annexd.repo.layout import Layout, journal_name
from annexd.repo.settings import Settings

NAME = b"SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
KEY = Key.parse(NAME)
LOWER = b"/r/annex/objects/992/280/" + NAME + b"/" + NAME
MIXED = b"/r/annex/objects/zK/02/" + NAME + b"/" + NAME


class LayoutTests(SynchronousTestCase):
    def test_objects_of_work_trees(self) -> None:
        self.assertEqual(tuple(Layout(b"/r", Settings()).object_paths(KEY)), (MIXED, LOWER))

    def test_objects_of_bare_repositories(self) -> None:
        self.assertEqual(tuple(Layout(b"/r", Settings(bare=True)).object_paths(KEY)), (LOWER, MIXED))

    def test_objects_without_symlinks(self) -> None:
        settings = Settings(crippled_filesystem=True, symlinks=False)
        self.assertEqual(tuple(Layout(b"/r", settings).object_paths(KEY)), (LOWER, MIXED))
        settings = Settings(crippled_filesystem=True)
        self.assertEqual(tuple(Layout(b"/r", settings).object_paths(KEY)), (MIXED, LOWER))

    def test_tuned_objects(self) -> None:
        one, other = Layout(b"/r", Settings(object_hash1=True)).object_paths(KEY)
        self.assertEqual(one, b"/r/annex/objects/zK/" + NAME + b"/" + NAME)
        self.assertEqual(other, b"/r/annex/objects/992/" + NAME + b"/" + NAME)
        one, _ = Layout(b"/r", Settings(object_hash_lower=True)).object_paths(KEY)
        self.assertEqual(one, LOWER)

    def test_escaped_names(self) -> None:
        layout = Layout(b"/r", Settings())
        self.assertEqual(layout.tmp(Key.parse(b"URL--http://x/y")), b"/r/annex/tmp/URL--http&c%%x%y")

    def test_transfers(self) -> None:
        layout = Layout(b"/r", Settings())
        transfer = b"/r/annex/transfer/"
        self.assertEqual(layout.upload_lock(b"u", KEY), transfer + b"upload/u/lck." + NAME)
        self.assertEqual(layout.upload_info(b"u", KEY), transfer + b"upload/u/" + NAME)
        self.assertEqual(layout.upload_failed(b"u", KEY), transfer + b"failed/upload/u/" + NAME)
        self.assertEqual(layout.download_info(b"u", KEY), transfer + b"download/u/" + NAME)
        self.assertEqual(layout.download_failed(b"u", KEY), transfer + b"failed/download/u/" + NAME)
        locks = (transfer + b"download/lck/lck." + NAME, transfer + b"download/u/lck." + NAME)
        self.assertEqual(layout.download_locks(b"u", KEY), locks)

    def test_peers_that_call_themselves_strangely(self) -> None:
        layout = Layout(b"/r", Settings())
        start = b"/r/annex/transfer/upload/"
        for uuid in (b"", b"..", b".", b"../../x", b"/", b"lck", b"a\0b", b"x" * 5000, b"../" * 200):
            path = layout.upload_info(uuid, KEY)
            self.assertTrue(path.startswith(start) and path.endswith(b"/" + NAME))
            directory = path[len(start) : -len(NAME) - 1]
            self.assertNotIn(directory, (b"", b".", b"..", b"lck"))
            self.assertNotIn(b"/", directory)
            self.assertNotIn(b"\0", directory)
            self.assertLess(len(directory), 200)
        self.assertEqual(layout.upload_info(b"a/b", KEY), start + b"ab/" + NAME)

    def test_logs(self) -> None:
        self.assertEqual(Layout(b"/r", Settings()).log_name(KEY), b"992/280/" + NAME + b".log")
        self.assertEqual(Layout(b"/r", Settings(branch_hash1=True)).log_name(KEY), b"992/" + NAME + b".log")
        self.assertEqual(journal_name(b"992/280/a_b.log"), b"992_280_a__b.log")
