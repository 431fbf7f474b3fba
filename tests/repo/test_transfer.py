"""The files by which git-annex knows of transfers."""

from __future__ import annotations

import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.keys import Key
from annexd.repo.layout import Layout
from annexd.repo.locks import Locked, try_lock
from annexd.repo.modes import Modes
from annexd.repo.settings import Settings
from annexd.repo.transfer import Transfers
from tests.support.repositories import files_below

KEY = Key.parse(b"WORM-s300000-m1--a b")
SMALL = Key.parse(b"WORM-s3-m1--a b")
NAME = KEY.file_name
INFO = b"1795360000.123456789s\nd/f.txt\n"


class TransferTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.git_dir = os.fsencode(self.mktemp())
        self.top = os.path.join(self.git_dir, b"annex", b"transfer")
        os.makedirs(os.path.dirname(self.top))
        self.addCleanup(self.assert_closed, len(os.listdir("/proc/self/fd")))
        self.transfers = self.make(Modes(None))

    def assert_closed(self, files_before: int) -> None:
        self.assertEqual(len(os.listdir("/proc/self/fd")), files_before)

    def make(self, modes: Modes) -> Transfers:
        return Transfers(Layout(self.git_dir, Settings()), modes, lambda: 1795360000_123456789)

    def read(self, path: bytes) -> bytes:
        with open(os.path.join(self.top, path), "rb") as file:
            return file.read()

    def test_download(self) -> None:
        transfer = self.transfers.download(b"peer", KEY, b"d/f.txt")
        info = b"download/peer/" + NAME
        locks = {b"download/lck/lck." + NAME, b"download/peer/lck." + NAME}
        self.assertEqual(files_below(self.top), locks | {info})
        self.assertEqual(self.read(info), INFO)
        for path in locks:
            self.assertIsNone(try_lock(os.path.join(self.top, path), exclusive=True))
        transfer.end(True)
        transfer.end(False)
        self.assertEqual(files_below(self.top), set())

    def test_what_is_over_at_once_is_noted_only_when_it_fails(self) -> None:
        transfer = self.transfers.download(b"peer", SMALL, b"d/f.txt")
        self.assertEqual(len(files_below(self.top)), 2)
        transfer.end(False)
        failed = b"failed/download/peer/" + SMALL.file_name
        self.assertEqual(files_below(self.top), {failed})
        self.assertEqual(self.read(failed), INFO)
        self.transfers.download(b"peer", SMALL, b"d/f.txt").end(True)
        self.assertEqual(files_below(self.top), set())

    def test_nothing_was_tried(self) -> None:
        self.transfers.download(b"peer", KEY, b"d/f.txt").end(None)
        self.assertEqual(files_below(self.top), set())

    def test_one_download_at_a_time(self) -> None:
        transfer = self.transfers.download(b"peer", KEY, b"")
        for peer in (b"peer", b"other"):
            with self.assertRaises(Locked):
                self.transfers.download(peer, KEY, b"")
        self.assertEqual(len(files_below(self.top)), 3)
        transfer.end(True)
        self.transfers.download(b"other", KEY, b"").end(True)

    def test_the_lock_of_old_versions(self) -> None:
        os.makedirs(os.path.join(self.top, b"download/peer"))
        old = try_lock(os.path.join(self.top, b"download/peer/lck." + NAME), exclusive=True)
        assert old is not None
        with self.assertRaises(Locked):
            self.transfers.download(b"peer", KEY, b"")
        self.assertEqual(files_below(self.top), {b"download/peer/lck." + NAME})
        old.release()
        self.transfers.download(b"peer", KEY, b"").end(True)

    def test_failure_is_noted_until_success(self) -> None:
        for kind, begin in (("download", self.transfers.download), ("upload", self.transfers.upload)):
            begin(b"peer", KEY, b"d/f.txt").end(False)
            failed = b"failed/%b/peer/%b" % (kind.encode(), NAME)
            self.assertEqual(files_below(self.top), {failed})
            self.assertEqual(self.read(failed), INFO)
            begin(b"peer", KEY, b"d/f.txt").end(True)
            self.assertEqual(files_below(self.top), set())

    def test_uploads_do_not_exclude_each_other(self) -> None:
        first = self.transfers.upload(b"peer", KEY, b"d/f.txt")
        second = self.transfers.upload(b"peer", KEY, b"other")
        self.assertEqual(self.read(b"upload/peer/" + NAME), INFO)
        second.end(False)
        self.assertEqual(files_below(self.top), {b"upload/peer/" + NAME, b"upload/peer/lck." + NAME})
        first.end(True)
        self.assertEqual(files_below(self.top), set())

    def test_modes(self) -> None:
        before = os.umask(0o077)
        try:
            transfer = self.make(Modes("group")).download(b"peer", KEY, b"")
        finally:
            os.umask(before)
        for path in files_below(self.top):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.top, path)).st_mode), 0o660)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.top, b"download/peer")).st_mode), 0o770)
        transfer.end(True)

    def test_a_repository_that_vanished(self) -> None:
        os.rmdir(os.path.dirname(self.top))
        with self.assertRaises(FileNotFoundError):
            self.transfers.download(b"peer", KEY, b"")

    def test_a_full_disk_leaves_nothing(self) -> None:
        def fail(fd: int, text: bytes) -> int:
            raise OSError(28, "No space left on device")

        self.patch(os, "write", fail)
        for begin in (self.transfers.download, self.transfers.upload):
            with self.assertRaises(OSError):
                begin(b"peer", Key.parse(b"WORM-s1000000--x"), b"")
        self.assertEqual(files_below(self.top), set())
