"""Free space, kinds of file systems, and what errors are called."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.repo.disks import Space, is_local, refusing, sentence


class FixedSpace(Space):
    free = 1000

    def _free(self) -> int:
        return self.free


class SpaceTests(SynchronousTestCase):
    def test_room(self) -> None:
        space = FixedSpace(b"/", 100)
        space.claim("a", lambda: 900)
        with self.assertRaises(Refused) as raised:
            space.claim("b", lambda: 1)
        self.assertIn("not enough free space: 1 more", str(raised.exception))
        space.let_go("a")
        space.let_go("a")
        space.claim("b", lambda: 1)

    def test_others_need_less_as_they_go_on(self) -> None:
        space = FixedSpace(b"/", 0)
        left = [900]
        space.claim("a", lambda: left[0])
        left[0] = 100
        space.claim("b", lambda: 900)

    def test_who_was_refused_takes_nothing(self) -> None:
        space = FixedSpace(b"/", 0)
        with self.assertRaises(Refused):
            space.claim("a", lambda: 2000)
        space.claim("b", lambda: 1000)

    def test_nothing_is_always_there(self) -> None:
        space = FixedSpace(b"/", 5000)
        space.claim("a", lambda: 0)

    def test_a_disk_that_cannot_be_asked(self) -> None:
        space = FixedSpace(b"/", 0)

        def fail() -> int:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(space, "_free", fail)
        with self.assertRaises(OSError):
            space.claim("a", lambda: 1000)
        space._free = lambda: 1000  # type: ignore[method-assign]
        space.claim("b", lambda: 1000)

    def test_who_needs_more_than_he_said(self) -> None:
        space = FixedSpace(b"/", 0)
        wanted = [0]
        space.claim("a", lambda: wanted[0])
        wanted[0] = 1000
        space.claim("a", lambda: wanted[0])
        with self.assertRaises(Refused):
            space.claim("b", lambda: 1)

    def test_the_disk_itself(self) -> None:
        space = Space(os.fsencode(os.getcwd()), 0)
        space.claim("a", lambda: 1)
        with self.assertRaises(Refused):
            space.claim("b", lambda: 1 << 62)


class LocalTests(SynchronousTestCase):
    def test_here(self) -> None:
        self.assertTrue(is_local(b"/dev/shm") or not os.path.ismount("/dev/shm"))
        self.assertFalse(is_local(b"/proc"))

    def test_missing(self) -> None:
        with self.assertRaises(FileNotFoundError):
            is_local(b"/nonexistent")


class SentenceTests(SynchronousTestCase):
    def test_no_paths(self) -> None:
        for number in errno.errorcode:
            said = sentence(OSError(number, os.strerror(number), "/secret/path"))
            self.assertNotIn("secret", said)
            self.assertTrue(said)

    def test_refusing(self) -> None:
        with self.assertRaises(Refused) as raised, refusing():
            os.stat("/nonexistent")
        self.assertEqual(str(raised.exception), "the repository, or a part of it, has vanished")
        with self.assertRaises(KeyError), refusing():
            raise KeyError
