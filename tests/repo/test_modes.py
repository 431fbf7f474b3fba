"""File modes, compared with those that git-annex was seen to set."""

from __future__ import annotations

import errno
import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from annexd.repo.locks import try_lock
from annexd.repo.modes import Modes, Shared

# sharedRepository, repository version, umask: file, directory, object, directory of an object
SEEN: list[tuple[Shared, int, int, int, int, int, int]] = [
    (None, 10, 0o022, 0o644, 0o755, 0o444, 0o555),
    (None, 8, 0o022, 0o644, 0o755, 0o444, 0o555),
    (None, 10, 0o077, 0o600, 0o700, 0o400, 0o500),
    (None, 9, 0o002, 0o664, 0o775, 0o444, 0o555),
    ("group", 10, 0o022, 0o664, 0o775, 0o444, 0o775),
    ("group", 8, 0o022, 0o664, 0o775, 0o664, 0o775),
    ("group", 10, 0o077, 0o660, 0o770, 0o440, 0o770),
    ("all", 10, 0o022, 0o664, 0o775, 0o444, 0o775),
    ("all", 8, 0o077, 0o664, 0o775, 0o666, 0o775),
    (0o640, 10, 0o022, 0o640, 0o2750, 0o440, 0o2550),
    (0o640, 8, 0o022, 0o640, 0o2750, 0o640, 0o2550),
    (0o660, 9, 0o022, 0o660, 0o2770, 0o660, 0o2570),
    (0o600, 10, 0o022, 0o600, 0o700, 0o400, 0o500),
    (0o666, 8, 0o077, 0o666, 0o2777, 0o666, 0o2577),
]


class ModesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = os.fsencode(self.mktemp())
        os.mkdir(self.top)

    def mode(self, path: bytes) -> int:
        return stat.S_IMODE(os.stat(path).st_mode)

    def test_what_git_annex_sets(self) -> None:
        for number, (shared, version, umask, file, directory, content, key_dir) in enumerate(SEEN):
            modes = Modes(shared, version)
            below = os.path.join(self.top, b"%d" % number)
            os.mkdir(below)
            before = os.umask(umask)
            try:
                path = os.path.join(below, b"a", b"b")
                made = modes.make_dirs(path, below)
                name = os.path.join(path, b"file")
                with open(name, "wb") as out:
                    modes.created_file(out.fileno())
                self.assertEqual(made, [os.path.join(below, b"a"), path])
                self.assertEqual([oct(self.mode(p)) for p in made], [oct(directory)] * 2)
                self.assertEqual(oct(self.mode(name)), oct(file))
                modes.freeze_object(name)
                modes.freeze_dir(path)
                self.assertEqual(oct(self.mode(name)), oct(content))
                self.assertEqual(oct(self.mode(path)), oct(key_dir))
                modes.thaw_dir(path)
                self.assertEqual(self.mode(path) & 0o700, 0o700)
            finally:
                os.umask(before)

    def test_a_lock_whose_mode_cannot_be_set(self) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        path = os.path.join(self.top, b"lock")
        held = try_lock(path, exclusive=True, mode=0o600)
        assert held is not None
        self.patch(os, "chmod", fail)
        self.assertRaises(OSError, Modes("group").created_lock, held)
        again = try_lock(path, exclusive=True)
        assert again is not None
        again.release()

    def test_directories_that_are_there(self) -> None:
        os.mkdir(os.path.join(self.top, b"x"), 0o700)
        self.assertEqual(Modes("group").make_dirs(os.path.join(self.top, b"x"), self.top), [])
        self.assertEqual(self.mode(os.path.join(self.top, b"x")), 0o700)

    def test_a_repository_that_is_gone(self) -> None:
        gone = os.path.join(self.top, b"gone")
        for tail in (b"a", b"a/b/c"):
            with self.assertRaises(FileNotFoundError):
                Modes(None).make_dirs(os.path.join(gone, tail), gone)
        self.assertFalse(os.path.exists(gone))

    def test_work_in_a_frozen_directory(self) -> None:
        """Without being root, which needs no permissions."""
        path = os.path.join(self.top, b"d")
        os.mkdir(path, 0o555)
        modes = Modes(None)
        refusals = [PermissionError(), PermissionError(), PermissionError()]
        seen = []

        def act() -> str:
            seen.append(self.mode(path))
            if refusals:
                raise refusals.pop()
            return "done"

        self.assertEqual(modes.in_opened_dir(path, act), "done")
        self.assertEqual(seen, [0o555, 0o755, 0o755, 0o755])
        self.assertEqual(self.mode(path), 0o555)
        refusals[:] = [PermissionError()]
        modes.in_opened_dir(path, act, leave_open=True)
        self.assertEqual(self.mode(path), 0o755)

    def test_a_directory_that_stays_forbidden(self) -> None:
        path = os.path.join(self.top, b"d")
        os.mkdir(path, 0o555)

        def act() -> None:
            raise PermissionError

        with self.assertRaises(PermissionError):
            Modes(None).in_opened_dir(path, act)
        self.assertEqual(self.mode(path), 0o555)
