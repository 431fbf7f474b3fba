"""Is this the content of that key?"""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from annexd.protocol.keys import Key
from annexd.repo.blake2tree import blake2bp512
from annexd.repo.verify import (
    Checker,
    Means,
    equivalent_keys,
    equivalents_name,
    has_equivalents,
    is_external,
    is_secure,
    means,
)

CONTENT = bytes(range(256)) * 5 + b"tail"

# What git-annex's calckey says of CONTENT; tests/interop has all backends and many sizes.
KEYS = (
    b"BLAKE2BP512-s1284--051b9fdb7f363d0c1a37890afe32b7ab6d26f43665de904547aeb3f6e1959aa4"
    b"1090941f9e791fb321806fa9b17d7e984d420e55c400bb41a87da94e6fbcaa1e",
    b"BLAKE2SP256-s1284--15e66b0b8150744c0609c3ad525f7eca2d05530fac3a21f6b9137d651effd797",
    b"SHA3_256E-s1284--4f91f73b66f8963d27baa0f51cf433757f0ad5b7b97f581eeb619ec74523df78.txt",
    b"BLAKE2B160-s1284--30e83f1af0f3c1fcbd078254c40ee2120a7d39a1",
    b"BLAKE2S224-s1284--b129eb2a5d1dbeeeac21b6bc9f5f2df5b8165b9bbaf04083c1577009",
    b"BLAKE3_256-s1284--63bf5f4afd4a5b83b1154eba79814db73f2d2a048ea69310bbfa750da7f35a25",
    b"XXH3-s1284--7cc76c87a99397f2",
    b"SHA1-s1284--1de6a6db28d0f1afcce19d232b20d9c51cf84aa4",
    b"MD5-s1284--8258651fa0d6328a54b23ffa63e845e4",
    b"SHA256-s1284--b2ab79fa78fa8f29d6685a6abf83c4976c35938aaf318c20982cd5816f65b71f",
)

ABC = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ABC_MD5 = b"900150983cd24fb0d6963f7d28e17f72"


def matches(key: bytes, content: bytes, *equivalents: bytes) -> bool:
    checker = Checker(Key.parse(key), tuple(map(Key.parse, equivalents)))
    checker.digest.update(content)
    return checker.matches(len(content))


class HashTests(TestCase):
    def test_known(self) -> None:
        for key in KEYS:
            self.assertTrue(matches(key, CONTENT), key)
            self.assertFalse(matches(key, CONTENT[:-1] + b"x"), key)

    def test_hashlib_itself(self) -> None:
        """A wrapper would cost a call for every chunk."""
        digest = Checker(Key.parse(b"SHA256E-s3--" + ABC)).digest
        self.assertIs(type(digest), type(hashlib.sha256()))

    def test_names(self) -> None:
        for name in (ABC, ABC + b".txt", ABC + b".tar.gz", ABC + b".a b-c", b"\\" + ABC + b".x"):
            self.assertTrue(matches(b"SHA256E-s3--" + name, b"abc"), name)
            self.assertTrue(matches(b"SHA256-s3--" + name, b"abc"), name)
        for name in (b"abc", b"", ABC.upper(), ABC + b"-x", ABC + b" ", ABC + b"00", ABC[:-4]):
            self.assertFalse(matches(b"SHA256E-s3--" + name, b"abc"), name)

    def test_size_counts(self) -> None:
        self.assertFalse(matches(b"SHA256-s4--" + ABC, b"abc"))
        self.assertTrue(matches(b"SHA256--" + ABC, b"abc"))
        self.assertFalse(matches(b"SHA256--" + ABC, b"abcd"))

    def test_git_bundle(self) -> None:
        for uuid in (b"u-", b"a-b-", b""):
            self.assertTrue(matches(b"GITBUNDLE-s3--" + uuid + ABC, b"abc"))
        self.assertFalse(matches(b"GITBUNDLE-s3--u-" + ABC + b".x", b"abc"))


class WithoutHashTests(TestCase):
    def test_size_only(self) -> None:
        for key in (b"WORM-s3-m1--x", b"URL-s3--x", b"GITMANIFEST-s3--u", b"VURL-s3--x", b"FOO-s3--" + ABC):
            self.assertIs(means(Key.parse(key)), Means.SIZE)
            self.assertTrue(matches(key, b"abd"), key)
            self.assertFalse(matches(key, b"abcd"), key)

    def test_nothing(self) -> None:
        for key in (b"WORM-m1--x", b"URL--x", b"VURL--x", b"SHA256EE--x", b"sha256--x", b"GITBUNDLEE--x"):
            self.assertIs(means(Key.parse(key)), Means.NOTHING)
            self.assertTrue(matches(key, b"anything"), key)

    def test_for_git_annex(self) -> None:
        for key in (b"SKEIN256E-s3--x", b"SKEIN512-s3--x", b"BLAKE2SP224-s3--x", b"XFOO-s3--x", b"XFOOE--x"):
            self.assertIs(means(Key.parse(key)), Means.GIT_ANNEX)
            self.assertFalse(matches(key, b"abc"), key)

    def test_external(self) -> None:
        self.assertTrue(is_external(Key.parse(b"XFOO--x")))
        for key in (b"XXH3--x", b"XXH3E--x", b"SHA256--x"):
            self.assertFalse(is_external(Key.parse(key)))


class EquivalentsTests(TestCase):
    def test_log(self) -> None:
        log = (
            b"5s 1 MD5-s3--" + ABC_MD5 + b"\n"
            b"7.5s 1 SHA256E-s3--" + ABC + b".a b\n"
            b"6s 0 MD5-s3--" + ABC_MD5 + b"\n"
            b"9s X WORM--x\nnonsense\n1s 1 \nxs 1 URL--x\n"
        )
        self.assertEqual(equivalent_keys(log), (Key.parse(b"SHA256E-s3--" + ABC + b".a b"),))
        self.assertEqual(equivalent_keys(b""), ())

    def test_names(self) -> None:
        self.assertEqual(equivalents_name(b"a/b/k.log"), b"a/b/k.log.ek")
        self.assertTrue(has_equivalents(Key.parse(b"VURL--x")))
        self.assertFalse(has_equivalents(Key.parse(b"URL--x")))

    def test_any_will_do(self) -> None:
        other = hashlib.sha256(b"other").hexdigest().encode()
        keys = (b"MD5-s3--" + ABC_MD5, b"SHA256E-s5--" + other + b".x", b"SHA256-s3--00")
        self.assertTrue(matches(b"VURL--x", b"abc", *keys))
        self.assertTrue(matches(b"VURL--x", b"other", *keys))
        self.assertFalse(matches(b"VURL--x", b"third", *keys))
        self.assertFalse(matches(b"VURL-s4--x", b"abc", *keys))

    def test_one_that_only_git_annex_knows(self) -> None:
        for other in (b"SKEIN256--x", b"WORM--x"):
            self.assertIs(means(Key.parse(b"VURL--x"), (Key.parse(other),)), Means.GIT_ANNEX)


class SecureTests(TestCase):
    def test_backends(self) -> None:
        for key in (
            b"SHA256E--x",
            b"SHA3_224--x",
            b"SKEIN256E--x",
            b"BLAKE2SP224--x",
            b"GITBUNDLE--x",
            b"XFOO--x",
        ):
            self.assertTrue(is_secure(Key.parse(key)), key)
        for key in (b"MD5--x", b"SHA1E--x", b"XXH3--x", b"WORM--x", b"URL--x", b"GITMANIFEST--x", b"FOO--x"):
            self.assertFalse(is_secure(Key.parse(key)), key)

    def test_equivalents(self) -> None:
        key, good, bad = map(Key.parse, (b"VURL--x", b"SHA256--x", b"MD5--x"))
        self.assertTrue(is_secure(key))
        self.assertTrue(is_secure(key, (good,)))
        self.assertFalse(is_secure(key, (good, bad)))


class TreeTests(TestCase):
    @given(st.lists(st.integers(0, 1300), max_size=8))
    def test_pieces_do_not_matter(self, sizes: list[int]) -> None:
        whole, pieces = blake2bp512(), blake2bp512()
        content = CONTENT * 8
        start = 0
        for size in sizes:
            pieces.update(memoryview(content)[start : start + size])
            start += size
        whole.update(content[:start])
        self.assertEqual(whole.hexdigest(), pieces.hexdigest())
        self.assertEqual(whole.hexdigest(), whole.hexdigest())
