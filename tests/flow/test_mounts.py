"""What is mounted where, and what symlinks have to do with it."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.flow.mounts import ROOT, Mount, Mounts, MountTable

LINE = b"%d 1 %b / %b rw,relatime shared:1 - %b source rw"


def table(*mounts: Mount) -> bytes:
    return b"\n".join(LINE % (at, m.device, m.point, m.kind) for at, m in enumerate(mounts))


class Table(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Mount(b"/", b"8:1", b"ext4")
        self.nas = Mount(b"/mnt/nas", b"0:40", b"nfs4")
        self.inner = Mount(b"/mnt/nas/inner", b"8:2", b"xfs")
        self.text = table(self.root, self.nas, self.inner)
        self.mounts = Mounts(lambda: self.text)

    def test_the_longest_that_fits(self) -> None:
        for path, mount in (
            (b"/mnt/nas", self.nas),
            (b"/mnt/nas/x/y", self.nas),
            (b"/mnt/nas/inner/", self.inner),
            (b"/mnt/nasty", self.root),
            (b"/mnt/nas/../x", self.root),
            (b"//mnt/nas/x", self.nas),
            *((path, self.root) for path in (b"/", b"//", b"//x", b"///x", b"//.git", b"x/y", b".", b"")),
        ):
            self.assertEqual(self.mounts.at(path), mount)

    def test_which_may_hang(self) -> None:
        self.assertEqual([mount.plain for mount in (self.root, self.nas, self.inner)], [True, False, True])
        for kind in (b"fuse.sshfs", b"fuseblk", b"cifs", b"9p", b"ceph", b"autofs", b"whatever"):
            self.assertFalse(Mount(b"/x", b"0:1", kind).plain)

    def test_names_with_spaces(self) -> None:
        self.text = table(self.root, Mount(rb"/a\040b\134", b"0:41", b"cifs"))
        self.assertEqual(self.mounts.at(b"/a b\\/x").kind, b"cifs")

    def test_what_is_mounted_over_it(self) -> None:
        over = Mount(b"/mnt/nas", b"0:50", b"fuse.x")
        self.text = table(self.root, self.nas, over)
        self.assertEqual(self.mounts.at(b"/mnt/nas/x"), over)
        self.text = table(self.root)
        self.assertEqual(self.mounts.at(b"/mnt/nas/x"), self.root)

    def test_no_table_to_be_had(self) -> None:
        def table() -> bytes:
            raise OSError

        self.assertEqual(Mounts(table).at(b"/x/y"), ROOT)
        self.text = b"rubbish\n1 2 3 4 5 6 7\n"
        self.assertEqual(self.mounts.at(b"/x/y"), ROOT)

    def test_the_kernels_own(self) -> None:
        own = MountTable()
        self.addCleanup(own.close)
        self.assertIs(own(), own())
        self.assertEqual(Mounts(own).at(b"/proc/self/x").kind, b"proc")


class Links(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = os.path.realpath(os.fsencode(self.mktemp()))
        os.makedirs(self.top + b"/dir")
        # Nothing is there: a look at it would not find what the table says.
        self.nas = Mount(self.top + b"/nas", b"0:40", b"nfs")
        self.mounts = Mounts(lambda: table(ROOT, self.nas))

    def behind(self, path: bytes) -> tuple[bytes, bytes]:
        mount, real = self.mounts.behind(self.top + path)
        self.assertTrue(real.startswith(self.top))
        return mount.kind, real[len(self.top) :]

    def test_as_far_as_they_are_plain(self) -> None:
        os.symlink(b"../nas/x", self.top + b"/dir/far")
        os.symlink(self.top + b"/dir", self.top + b"/near")
        os.symlink(b"loop", self.top + b"/loop")
        for path, found in (
            (b"/dir/./file", (b"rootfs", b"/dir/file")),
            (b"/near/file", (b"rootfs", b"/dir/file")),
            (b"/near/../x", (b"rootfs", b"/x")),
            (b"/dir/far/y/../z", (b"nfs", b"/nas/x/z")),
            (b"/near/far", (b"nfs", b"/nas/x")),
            (b"/dir/../nas", (b"nfs", b"/nas")),
            (b"/missing/x", (b"rootfs", b"/missing/x")),
            (b"/loop/x", (b"rootfs", b"/loop/x")),
        ):
            self.assertEqual(self.behind(path), found)
