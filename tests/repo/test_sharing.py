"""One hash for several uploads of the same."""

from __future__ import annotations

import hashlib
import random
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.keys import Key
from annexd.repo import transfer
from annexd.repo.incoming import LocalWriter
from annexd.repo.sharing import Common, Share
from annexd.store import Caller
from tests.support.repositories import make_repository, open_repository
from tests.support.store_contract import CONTENT, key_of, send


class Counting:
    """A digest that counts the bytes that it is fed."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.count = 0

    def update(self, data: Any, /) -> None:
        self.count += len(data)
        self.hash.update(data)


class Shares(SynchronousTestCase):
    @given(st.binary(max_size=200), st.lists(st.integers(1, 50), min_size=1), st.integers())
    def test_each_byte_once_whoever_comes_first(self, content: bytes, sizes: list[int], seed: int) -> None:
        chance = random.Random(seed)
        digest = Counting()
        common = Common(digest)
        shares = [(Share(common), 0) for _ in range(3)]
        while any(done < len(content) for _, done in shares):
            number = chance.randrange(3)
            share, done = shares[number]
            piece = content[done : done + chance.choice(sizes)]
            share.update(piece)
            shares[number] = share, done + len(piece)
        self.assertEqual(digest.count, len(content))
        self.assertEqual(digest.hash.digest(), hashlib.sha256(content).digest())

    def test_in_threads(self) -> None:
        content = random.Random(1).randbytes(3_000_000)
        common = Common(digest := Counting())

        def feed(share: Share, size: int) -> None:
            for start in range(0, len(content), size):
                share.update(content[start : start + size])

        threads = [threading.Thread(target=feed, args=(Share(common), size)) for size in (999, 7001, 65536)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(
            (digest.count, digest.hash.digest()), (len(content), hashlib.sha256(content).digest())
        )


class Uploads(SynchronousTestCase):
    """Into two repositories."""

    def setUp(self) -> None:
        self.patch(transfer, "BRIEF", -1)
        self.stores = [self.does(open_repository(make_repository(self.mktemp()))) for _ in range(2)]

    def does(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def writers(self, *keys: Key) -> list[LocalWriter]:
        pairs = zip(self.stores, keys, strict=True)
        made = [self.does(store.store(Caller(b"u", "p")).write(key, b"")) for store, key in pairs]
        made[1].share_check(made[0])
        return made

    def upload(self, writers: list[LocalWriter], *contents: bytes) -> list[bool]:
        for writer, content in zip(writers, contents, strict=True):
            self.does(send(writer, content))
        found = [self.does(writer.commit(True)).ok for writer in writers]
        for writer in writers:
            self.does(writer.close())
        return found

    def test_both_have_it(self) -> None:
        key = key_of(CONTENT)
        writers = self.writers(key, key)
        self.assertIs(writers[0].checker, writers[1].checker)
        self.assertEqual(self.upload(writers, CONTENT, CONTENT), [True, True])

    def test_what_is_wrong_is_wrong_for_both(self) -> None:
        key = key_of(CONTENT)
        wrong = b"?" + CONTENT[1:]
        self.assertEqual(self.upload(self.writers(key, key), wrong, wrong), [False, False])

    def test_what_is_short_is_wrong(self) -> None:
        key = key_of(CONTENT)
        self.assertEqual(self.upload(self.writers(key, key), CONTENT, CONTENT[:9]), [True, False])

    def test_what_is_short_is_wrong_without_a_size_too(self) -> None:
        key = Key.parse(b"SHA256--" + hashlib.sha256(CONTENT).hexdigest().encode())
        self.assertEqual(self.upload(self.writers(key, key), CONTENT, CONTENT[:9]), [True, False])

    def test_other_content_is_checked_by_itself(self) -> None:
        other = CONTENT[::-1]
        writers = self.writers(key_of(CONTENT), key_of(other))
        self.assertIsNot(writers[0].checker, writers[1].checker)
        self.assertEqual(self.upload(writers, CONTENT, other), [True, True])

    def test_one_that_was_begun_is_checked_by_itself(self) -> None:
        key = key_of(CONTENT)
        writer = self.does(self.stores[1].store(Caller(b"u", "p")).write(key, b""))
        self.does(send(writer, CONTENT[:100]))
        self.does(writer.close())
        writers = self.writers(key, key)
        self.assertIsNot(writers[0].checker, writers[1].checker)
        self.assertEqual(self.upload(writers, CONTENT, CONTENT[100:]), [True, True])
