"""Files that are in memory already; which these are, the kernel decides."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.repo.cached import open_cached, read_cached

# Kernels before 5.12, sandboxes without the call, and file systems that cannot tell.
_CANNOT_TELL = (errno.EAGAIN, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)


class Cached(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.fsencode(self.mktemp())
        with open(self.path, "wb") as file:
            file.write(b"0123456789")
        self.files = len(os.listdir("/proc/self/fd"))

    def read(self, length: int, offset: int) -> bytes | None:
        try:
            fd = open_cached(self.path)
        except OSError as error:
            self.assertIn(error.errno, _CANNOT_TELL)
            return None
        try:
            self.assertFalse(os.get_inheritable(fd))
            return read_cached(fd, length, offset)
        except OSError as error:
            self.assertIn(error.errno, _CANNOT_TELL)
            return None
        finally:
            os.close(fd)

    def test_the_bytes_or_nothing(self) -> None:
        self.assertIn(self.read(10, 0), (None, b"0123456789"))
        self.assertIn(self.read(3, 2), (None, b"234"))
        self.assertIn(self.read(10, 8), (None, b"89"))
        self.assertIn(self.read(10, 11), (None, b""))
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.files)

    def test_what_is_not_there(self) -> None:
        error = self.assertRaises(OSError, open_cached, self.path + b".no")
        self.assertIn(error.errno, (*_CANNOT_TELL, errno.ENOENT))
