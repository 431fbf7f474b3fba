"""From paths to repositories."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.router.places import Map, Place, Served, absolute


class Absolute(SynchronousTestCase):
    def test_forms(self) -> None:
        for given, wanted in (
            (b"/srv/x", b"/srv/x"),
            (b"/srv/x/", b"/srv/x"),
            (b"/srv/x///", b"/srv/x"),
            (b"/", b"/"),
            (b"x/y", b"/home/me/x/y"),
            (b"~/x", b"/home/me/x"),
            (b"/~/x", b"/home/me/x"),
            (b"~", b"/home/me/"),
            (b"/~", b"/home/me/"),
            (b"x y\xff", b"/home/me/x y\xff"),
        ):
            self.assertEqual(wanted.rstrip(b"/") or b"/", absolute(given, b"/home/me"))

    def test_malformed(self) -> None:
        for given in (b"", b"/srv\0x"):
            self.assertRaises(Refused, absolute, given, b"/home/me")

    def test_no_home(self) -> None:
        self.assertEqual(b"/srv/x", absolute(b"/srv/x", None))
        for home in (None, b"", b"home"):
            error = self.assertRaises(Refused, absolute, b"~/x", home)
            self.assertIn("home directory that is not known", str(error))


def make(path: bytes) -> bytes:
    """What looks like a repository: bare, or with its .git."""
    for part in (b"objects", b"refs"):
        os.makedirs(os.path.join(path, part))
    open(os.path.join(path, b"HEAD"), "w").close()
    return path


class OnDisk(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.realpath(os.fsencode(self.mktemp()))
        self.srv = os.path.join(self.root, b"srv")
        os.makedirs(self.srv)
        self.tree = os.path.join(self.srv, b"tree")
        self.bare = os.path.join(self.srv, b"deep", b"er", b"bare.git")
        make(self.tree + b"/.git")
        make(self.bare)
        self.outside = make(os.path.join(self.root, b"outside"))
        self.map = Map([Served(self.srv, nested=True)])

    def at(self, path: bytes, home: bytes | None = None) -> bytes:
        return self.map.locate(path, home).git_dir

    def refusal(self, path: bytes, home: bytes | None = None) -> str:
        return str(self.assertRaises(Refused, self.map.locate, path, home)).replace(os.fsdecode(path), "PATH")

    def refused(self, path: bytes, home: bytes | None = None) -> None:
        self.assertEqual("no repository is served at PATH", self.refusal(path, home))


class InDirectories(OnDisk):
    def test_work_tree(self) -> None:
        for path in (self.tree, self.tree + b"/", self.tree + b"/.git", self.srv + b"/deep/../tree"):
            self.assertEqual(self.tree + b"/.git", self.at(path))
            self.assertEqual(self.tree, self.map.locate(path, None).name)

    def test_bare(self) -> None:
        self.assertEqual(self.bare, self.at(self.bare))
        self.assertEqual(self.bare, self.at(self.bare[:-4]))

    def test_from_home(self) -> None:
        self.assertEqual(self.tree + b"/.git", self.at(b"tree", self.srv))
        self.assertEqual(self.tree + b"/.git", self.at(b"/~/tree/", self.srv))
        self.refused(b"../outside", self.srv)

    def test_outside_and_nowhere_look_the_same(self) -> None:
        self.refused(self.outside)
        self.refused(self.root + b"/nowhere")
        self.refused(self.srv + b"/../outside")
        self.refused(self.srv + b"/nowhere")
        self.refused(self.srv + b"/deep")
        self.refused(b"/")

    def test_a_link_that_leads_outside(self) -> None:
        os.symlink(self.outside, self.srv + b"/link")
        self.refused(self.srv + b"/link")

    def test_a_git_dir_that_is_outside(self) -> None:
        os.mkdir(self.srv + b"/trick")
        os.symlink(self.outside, self.srv + b"/trick/.git")
        self.refused(self.srv + b"/trick")
        os.mkdir(self.srv + b"/file")
        with open(self.srv + b"/file/.git", "wb") as file:
            file.write(b"gitdir: " + self.outside + b"\n")
        self.refused(self.srv + b"/file")

    def test_a_link_inside(self) -> None:
        os.symlink(b"deep/er/bare.git", self.srv + b"/link")
        place = self.map.locate(self.srv + b"/link", None)
        self.assertEqual((self.bare, self.bare), (place.name, place.git_dir))

    def test_submodule(self) -> None:
        """It has a name of its own, and no other."""
        git_dir = make(self.tree + b"/.git/modules/sub")
        os.mkdir(self.tree + b"/sub")
        with open(self.tree + b"/sub/.git", "wb") as file:
            file.write(b"gitdir: ../.git/modules/sub\n")
        self.assertEqual(git_dir, self.at(self.tree + b"/sub"))
        self.refused(git_dir)

    def test_a_linked_git_dir_has_two_names(self) -> None:
        os.mkdir(self.srv + b"/other")
        os.symlink(self.bare, self.srv + b"/other/.git")
        place = self.map.locate(self.srv + b"/other", None)
        self.assertEqual((self.srv + b"/other", self.bare), (place.aliases[0], place.aliases[-1]))

    def test_later_and_no_longer(self) -> None:
        path = self.srv + b"/new"
        self.refused(path)
        make(path)
        first = self.map.locate(path, None)
        os.rename(path, self.root + b"/gone")
        self.refused(path)
        make(path)
        self.assertNotEqual(first, self.map.locate(path, None))

    def test_names_are_spelled_as_configured(self) -> None:
        alias = self.root + b"/alias"
        os.symlink(self.srv, alias)
        self.map = Map([Served(alias, nested=True)])
        for path in (alias + b"/tree", self.tree):
            place = self.map.locate(path, None)
            self.assertEqual((alias + b"/tree", self.tree), place.aliases[:2])

    def test_the_innermost_directory_serves(self) -> None:
        inner = Served(self.srv + b"/deep", nested=True, fsync=False)
        self.map = Map([Served(self.srv, nested=True), inner])
        self.assertEqual(inner, self.map.locate(self.bare, None).served)

    def test_names_that_begin_alike(self) -> None:
        make(self.root + b"/srv2/x")
        self.refused(self.root + b"/srv2/x")


class OneByOne(OnDisk):
    def place(self, configured: bytes, asked: bytes) -> Place:
        self.map = Map([Served(configured)])
        return self.map.locate(asked, None)

    def test_as_configured(self) -> None:
        for configured in (self.tree, self.tree + b"/.git"):
            place = self.place(configured, self.tree)
            self.assertEqual((configured, self.tree + b"/.git"), (place.name, place.git_dir))
        self.assertEqual(self.bare, self.place(self.bare[:-4], self.bare).git_dir)
        self.refused(self.outside)

    def test_through_links(self) -> None:
        link = self.root + b"/link"
        os.symlink(self.tree, link)
        for asked in (link, self.tree):
            self.assertEqual(link, self.place(link, asked).name)

    def test_a_git_dir_elsewhere_is_what_was_wanted(self) -> None:
        os.mkdir(self.srv + b"/w")
        os.symlink(self.outside, self.srv + b"/w/.git")
        self.assertEqual(self.outside, self.place(self.srv + b"/w", self.srv + b"/w").git_dir)

    def test_goes_before_its_directory(self) -> None:
        single = Served(self.tree, fsync=False)
        self.map = Map([Served(self.srv, nested=True), single])
        self.assertEqual(single, self.map.locate(self.tree, None).served)

    def test_a_configured_one_that_comes_later(self) -> None:
        path = self.root + b"/later"
        self.map = Map([Served(path)])
        self.refused(path)
        make(path + b"/.git")
        self.assertEqual(path + b"/.git", self.at(path))
        os.rename(path, self.root + b"/gone")
        os.symlink(self.root + b"/gone", path)
        self.assertEqual(self.root + b"/gone/.git", self.at(path))

    def test_one_that_is_broken_keeps_nobody_from_the_others(self) -> None:
        broken = self.root + b"/broken"
        os.mkdir(broken)
        for text in (b"gitdir: a\0b\n", b"gitdir: nowhere\n", b"gitdir: \n", b"\xff", b""):
            with open(broken + b"/.git", "wb") as file:
                file.write(text)
            self.map = Map([Served(broken), Served(self.tree)])
            self.refused(broken)
            self.assertEqual(self.tree + b"/.git", self.at(self.tree))

    def test_nothing_inside_it(self) -> None:
        make(self.tree + b"/.git/modules/sub")
        make(self.tree + b"/sub")
        self.map = Map([Served(self.tree)])
        self.refused(self.tree + b"/sub")
        self.refused(self.tree + b"/.git/modules/sub")
