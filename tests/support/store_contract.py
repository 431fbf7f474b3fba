"""
What every `annexd.store.Store` promises, as tests.

    class MyStoreTests(StoreContract, TestCase):
        async def make_store(self) -> Store:
            return a store that is empty

All stores that one test makes must show the same, empty, place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from annexd.errors import Absent, Refused
from annexd.protocol.keys import Key
from annexd.store import Outcome, Store, Writer

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

T = TypeVar("T")

CONTENT = b"All that is gold does not glitter\n" * 50


def key_of(content: bytes, backend: bytes = b"SHA256E", tail: bytes = b".txt") -> Key:
    digest = hashlib.sha256(content).hexdigest().encode()
    return Key.parse(b"%b-s%d--%b%b" % (backend, len(content), digest, tail))


async def put(store: Store, key: Key, content: bytes, valid: bool = True) -> Outcome:
    """Store ``content`` whole, as a peer would."""
    writer = await store.write(key, b"a/file.txt")
    if isinstance(writer, Outcome):
        return writer
    try:
        await send(writer, content[writer.offset :])
        return await writer.commit(valid)
    finally:
        await writer.close()


async def send(writer: Writer, content: bytes, piece: int = 600) -> None:
    writer.announce(len(content))
    for at in range(0, len(content), piece):
        await writer.sink.write(content[at : at + piece])


async def get(store: Store, key: Key, offset: int = 0) -> bytes:
    """The content from ``offset`` on, as a peer would take it."""
    reader = await store.read(key, offset, b"")
    try:
        parts = []
        while reader.source.remaining:
            parts.append(bytes(await reader.source.read(700)))
        assert await reader.valid()
        return b"".join(parts)
    finally:
        await reader.close(True)


class StoreContract(_Case):
    one_upload_at_a_time = True
    """Whether a second upload of a key is refused while the first is under way."""

    keeps_partials = True
    """Whether what an interrupted upload brought is there for the next one."""

    async def make_store(self) -> Store:
        raise NotImplementedError

    # --- absent --------------------------------------------------------------

    async def test_absent_content(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        self.assertFalse(await store.present(key))
        await self.assert_refused(store.lock(key))
        self.assertTrue((await store.remove(key)).ok)
        await self.assert_raises(Absent, store.read(key, 0, b""))

    async def test_absent_content_is_gone_at_any_time(self) -> None:
        store = await self.make_store()
        self.assertTrue((await store.remove(key_of(CONTENT), 0)).ok)

    # --- in and out ----------------------------------------------------------

    async def test_put_then_get(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        self.assertTrue((await put(store, key, CONTENT)).ok)
        self.assertTrue(await store.present(key))
        self.assertEqual(await get(store, key), CONTENT)

    async def test_get_from_an_offset(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        for offset in (1, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 5):
            self.assertEqual(await get(store, key, offset), CONTENT[offset:])

    async def test_what_can_be_had_at_once_is_the_same(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        self.assertIsNone(store.read_now(key, 0, b""))
        await put(store, key, CONTENT)
        for offset in (0, 1, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 5):
            self.assertIn(store.read_now(key, offset, b"a/file.txt"), (None, CONTENT[offset:]))

    async def test_put_of_what_is_here(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        outcome = await store.write(key, b"")
        self.assertIsInstance(outcome, Outcome)
        assert isinstance(outcome, Outcome)
        self.assertTrue(outcome.ok)

    async def test_nothing_is_content_too(self) -> None:
        store = await self.make_store()
        key = key_of(b"")
        self.assertTrue((await put(store, key, b"")).ok)
        self.assertTrue(await store.present(key))
        self.assertEqual(await get(store, key), b"")

    async def test_a_key_without_a_size(self) -> None:
        store = await self.make_store()
        key = Key.parse(b"SHA256--" + hashlib.sha256(CONTENT).hexdigest().encode())
        self.assertTrue((await put(store, key, CONTENT)).ok)
        self.assertEqual(await get(store, key), CONTENT)

    async def test_a_key_without_a_hash(self) -> None:
        store = await self.make_store()
        key = Key.parse(b"WORM-s%d-m1700000000--a b%%c/d:e&f" % len(CONTENT))
        self.assertTrue((await put(store, key, CONTENT)).ok)
        self.assertEqual(await get(store, key), CONTENT)

    async def test_a_reader_may_be_left_half_way(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        reader = await store.read(key, 0, b"f")
        await reader.source.read(10)
        await reader.close(False)
        self.assertEqual(await get(store, key), CONTENT)

    async def test_two_readers(self) -> None:
        store, other = await self.make_store(), await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        reader = await store.read(key, 0, b"f")
        self.assertEqual(await get(other, key), CONTENT)
        await reader.close(False)

    # --- content that is not right -------------------------------------------

    async def test_wrong_content(self) -> None:
        await self.check_wrong(CONTENT[:-1] + b"?")

    async def test_short_content(self) -> None:
        await self.check_wrong(CONTENT[:-1])

    async def test_overlong_content(self) -> None:
        await self.check_wrong(CONTENT + b"more")

    async def test_nothing_instead_of_content(self) -> None:
        await self.check_wrong(b"")

    async def test_wrong_size_of_a_key_without_a_hash(self) -> None:
        key = Key.parse(b"WORM-s%d-m1--f" % len(CONTENT))
        await self.check_wrong(CONTENT[:-1], key)
        await (await self.make_store()).remove(key)
        await self.check_wrong(CONTENT + b"more", key)

    async def check_wrong(self, content: bytes, key: Key | None = None) -> None:
        key = key or key_of(CONTENT)
        store = await self.make_store()
        outcome = await put(store, key, content)
        self.assertFalse(outcome.ok)
        self.assertFalse(await store.present(key))
        self.assertTrue((await put(store, key, CONTENT)).ok)

    async def test_doubted_content_that_is_right(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        self.assertTrue((await put(store, key, CONTENT, valid=False)).ok)
        self.assertTrue(await store.present(key))

    async def test_doubted_content_that_is_wrong(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        self.assertFalse((await put(store, key, CONTENT[:-1] + b"?", valid=False)).ok)
        self.assertFalse(await store.present(key))

    # --- interrupted uploads --------------------------------------------------

    async def test_resume(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await self.interrupted(store, key, CONTENT[:1000])
        self.assertFalse(await store.present(key))
        writer = await store.write(key, b"")
        assert not isinstance(writer, Outcome)
        if self.keeps_partials:
            self.assertEqual(writer.offset, 1000)
        await send(writer, CONTENT[writer.offset :])
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()
        self.assertEqual(await get(store, key), CONTENT)

    async def test_resume_of_what_was_wrong(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await self.interrupted(store, key, b"?" * 1000)
        if self.keeps_partials:
            self.assertFalse((await put(store, key, CONTENT)).ok)
        self.assertTrue((await put(store, key, CONTENT)).ok)

    async def test_resume_of_what_was_complete(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await self.interrupted(store, key, CONTENT)
        self.assertTrue((await put(store, key, CONTENT)).ok)
        self.assertEqual(await get(store, key), CONTENT)

    async def interrupted(self, store: Store, key: Key, content: bytes) -> None:
        writer = await store.write(key, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, content)
        await writer.close()

    async def test_closing_again(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        writer = await store.write(key, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, CONTENT)
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()
        await writer.close()
        reader = await store.read(key, 0, b"")
        await reader.close(True)
        await reader.close(False)
        self.assertTrue(await store.present(key))

    async def test_second_upload(self) -> None:
        if not self.one_upload_at_a_time:
            return
        store, other = await self.make_store(), await self.make_store()
        key = key_of(CONTENT)
        writer = await store.write(key, b"")
        assert not isinstance(writer, Outcome)
        await self.assert_refused(other.write(key, b""))
        await send(writer, CONTENT)
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()
        self.assertIsInstance(await other.write(key, b""), Outcome)

    async def test_content_that_did_not_come_by_other_means(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        writer = await store.write(key, b"")
        assert not isinstance(writer, Outcome)
        self.assertFalse((await writer.recheck()).ok)
        await writer.close()
        self.assertFalse(await store.present(key))

    # --- locks and removal ----------------------------------------------------

    async def test_remove(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        self.assertTrue((await store.remove(key)).ok)
        self.assertFalse(await store.present(key))
        self.assertTrue((await store.remove(key)).ok)

    async def test_what_is_locked_stays(self) -> None:
        store, other = await self.make_store(), await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        lease = await store.lock(key)
        await self.assert_not_done(other.remove(key))
        self.assertTrue(await store.present(key))
        self.assertEqual(await get(other, key), CONTENT)
        await lease.release()
        await lease.release()
        self.assertTrue((await other.remove(key)).ok)

    async def test_locks_are_shared(self) -> None:
        store, other = await self.make_store(), await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        first, second = await store.lock(key), await other.lock(key)
        await second.release()
        await self.assert_not_done(other.remove(key))
        await first.release()

    async def test_remove_in_time(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        now = await store.timestamp()
        self.assertTrue((await store.remove(key, now + 1000)).ok)
        self.assertFalse(await store.present(key))

    async def test_remove_too_late(self) -> None:
        store = await self.make_store()
        key = key_of(CONTENT)
        await put(store, key, CONTENT)
        now = await store.timestamp()
        for late in (now, now - 1, 0):
            await self.assert_not_done(store.remove(key, late))
        self.assertTrue(await store.present(key))

    async def test_time_does_not_go_back(self) -> None:
        store = await self.make_store()
        self.assertLessEqual(await store.timestamp(), await store.timestamp())

    # --- what the tests are made of -------------------------------------------

    async def assert_raises(self, error: type[Exception], awaitable: Awaitable[T]) -> Exception:
        try:
            result = await awaitable
        except error as raised:
            return raised
        self.fail(f"{error.__name__} expected, not {result!r}")

    async def assert_refused(self, awaitable: Awaitable[T]) -> None:
        error = await self.assert_raises(Refused, awaitable)
        self.assertTrue(str(error))

    async def assert_not_done(self, awaitable: Awaitable[Outcome]) -> None:
        """A store may say no in either way."""
        try:
            outcome = await awaitable
        except Refused as error:
            self.assertTrue(str(error))
        else:
            self.assertFalse(outcome.ok)
