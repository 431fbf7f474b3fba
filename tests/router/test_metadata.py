"""Metadata of keys, as the real git-annex wrote it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.metadata import current

TEXT = b"""1795865503s author +me tag +!YSBi +x
1795865504s tag -x
1795865505s author -me +!eW91ICYgIm1l
"""


class MetadataTests(SynchronousTestCase):
    def test_the_newest_counts(self) -> None:
        self.assertEqual(current(TEXT), {b"author": {b'you & "me'}, b"tag": {b"a b"}})

    def test_the_order_of_lines_does_not(self) -> None:
        turned = b"\n".join(reversed(TEXT.split(b"\n")))
        self.assertEqual(current(turned), current(TEXT))

    def test_set_again(self) -> None:
        self.assertEqual(current(b"1s tag +x\n2s tag -x\n3s tag +x\n"), {b"tag": {b"x"}})

    def test_what_cannot_be_read(self) -> None:
        self.assertEqual(current(b"x tag +y\n\n5s\n5s +z\n5s tag +!?? +y\n"), {b"tag": {b"y"}})
