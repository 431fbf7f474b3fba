"""What a git config means."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from annexd.repo import settings
from annexd.repo.settings import Settings

READY = {b"annex.uuid": b"u-1", b"annex.version": b"10"}


def read(**values: bytes) -> Settings:
    """Settings of a ready repository and ``values``, with ``__`` for ``.`` and ``_`` for ``-``."""
    config = {name.replace("__", ".").replace("_", "-").encode(): value for name, value in values.items()}
    return Settings.from_git_config({**READY, **config})


class DefaultsTests(TestCase):
    def test_empty(self) -> None:
        self.assertEqual(Settings.from_git_config({}), Settings())

    def test_ready(self) -> None:
        ready = read()
        self.assertEqual((ready.uuid, ready.version, ready.disk_reserve), (b"u-1", 10, 100_000_000))
        self.assertTrue(ready.verify and ready.always_commit and ready.symlinks)
        self.assertIsNone(ready.write_obstacle())
        self.assertFalse(ready.needs_git_annex_to_add or ready.needs_git_annex_to_remove)
        self.assertFalse(ready.needs_git_annex_to_commit)


class BooleanTests(TestCase):
    def test_values(self) -> None:
        for value in (b"true", b"TRUE", b"yes", b"on", b"1", b"2", b"-1"):
            self.assertTrue(read(annex__private=value).private, value)
        for value in (b"false", b"no", b"Off", b"0", b"", b"t", b"xx", b" true", b"1k"):
            self.assertFalse(read(annex__private=value).private, value)

    def test_unreadable_is_the_default(self) -> None:
        self.assertTrue(read(annex__verify=b"xx").verify)
        self.assertTrue(read(annex__alwayscommit=b"xx").always_commit)
        self.assertFalse(read(annex__alwayscommit=b"").always_commit)


class SizeTests(TestCase):
    def test_units(self) -> None:
        for text, size in (
            (b"1000", 1000),
            (b"100 megabytes", 100_000_000),
            (b"1GB", 10**9),
            (b"0.5 gb", 500_000_000),
            (b"1 MiB", 2**20),
            (b"5 MIB", 5 * 2**20),
            (b"5 Kb", 5000),
            (b"5k", 5000),
            (b"5 ki", 5120),
            (b"1 gibibyte", 2**30),
            (b"5 kbit", 625),
            (b"5 megabits", 625_000),
            (b"5 EiB", 5 * 2**60),
            (b"1e3", 1000),
            (b"5e-1 kb", 500),
            (b"0x10", 16),
            (b" 5 mb ", 5_000_000),
            (b"5mb foo", 5_000_000),
            (b"1.5.5 mb", 2),
            (b"1,5 mb", 1),
            (b"1.00049 kb", 1000),
            (b"0", 0),
            (b"-5 mb", 0),
        ):
            self.assertEqual(settings.parse_size(text, 7), size, text)

    def test_unreadable(self) -> None:
        for text in (b"", b"abc", b"5 foo", b".5 mb", b"+5", b"5 bit", b"5 mega"):
            self.assertEqual(settings.parse_size(text, 7), 7, text)

    @given(st.binary())
    def test_never_fails(self, value: bytes) -> None:
        settings.parse_size(value, 7)
        settings.parse_bool(value)
        settings.parse_shared(value)
        settings.parse_version(value)


class SharedTests(TestCase):
    def test_words_and_modes(self) -> None:
        for values, shared in (
            ((b"group", b"true", b"1", b"yes"), "group"),
            ((b"all", b"world", b"everybody", b"2"), "all"),
            ((b"", b"umask", b"false", b"0", b"xx", b"3", b"0440"), None),
            ((b"0640", b"640"), 0o640),
            ((b"0666",), 0o666),
        ):
            for value in values:
                self.assertEqual(read(core__sharedrepository=value).shared, shared, value)


class ObstacleTests(TestCase):
    def test_versions(self) -> None:
        for version in (b"8", b"9", b"10"):
            self.assertIsNone(read(annex__version=version).service_obstacle())
        for version, hint in ((b"7", "upgrade"), (b"11", "newer"), (b"", "init"), (b"x", "init")):
            self.assertIn(hint, read(annex__version=version).service_obstacle() or "")
        self.assertIn("init", Settings().service_obstacle() or "")
        self.assertIn("init", read(annex__uuid=b"").write_obstacle() or "")

    def test_pidlock(self) -> None:
        locked = read(annex__pidlock=b"true")
        self.assertIsNone(locked.service_obstacle())
        self.assertIn("pidlock", locked.write_obstacle() or "")


class DelegationTests(TestCase):
    def test_both_ways(self) -> None:
        for name in ("freezecontent_command", "thawcontent_command", "crippledfilesystem"):
            found = read(**{"annex__" + name: b"true"})
            self.assertTrue(found.needs_git_annex_to_add and found.needs_git_annex_to_remove, name)

    def test_removal_only(self) -> None:
        for name in ("trashbin", "secure_erase_command"):
            found = read(**{"annex__" + name: b""})
            self.assertFalse(found.needs_git_annex_to_add)
            self.assertTrue(found.needs_git_annex_to_remove, name)

    def test_commit(self) -> None:
        self.assertTrue(read(annex__commitmessage_command=b"x").needs_git_annex_to_commit)
        self.assertEqual(read(annex__commitmessage=b"x").commit_message, b"x")

    def test_hooks(self) -> None:
        git_dir = os.fsencode(self.mktemp())
        os.makedirs(os.path.join(git_dir, b"hooks"))
        for name, mode in ((b"secure-erase-annex", 0o755), (b"thawcontent-annex", 0o644), (b"x", 0o755)):
            path = os.path.join(git_dir, b"hooks", name)
            with open(path, "wb"):
                os.chmod(path, mode)
        hooks = settings.find_hooks(git_dir)
        self.assertEqual(hooks, {b"secure-erase-annex"})
        found = read().with_hooks(hooks)
        self.assertFalse(found.needs_git_annex_to_add)
        self.assertTrue(found.needs_git_annex_to_remove)
        self.assertEqual(settings.find_hooks(git_dir + b"-none"), frozenset())
