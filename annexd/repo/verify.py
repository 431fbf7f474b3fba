"""
Is this the content of that key?

A key's backend says how its content can be recognised.  `Checker` does what
git-annex's own server does, with three differences, all towards caution:
content must have the size that the key names even when its hash is right (as
``git annex fsck`` wants it), or when ``annex.verify`` is off, and what only
an installed git-annex can check is never taken for good here.
"""

from __future__ import annotations

import enum
import hashlib
from functools import partial
from typing import Callable, Protocol, Sequence

import blake3
import xxhash

from annexd.flow.body import Buffer, Digest, NoDigest
from annexd.protocol.keys import Key
from annexd.repo.blake2tree import blake2bp512, blake2sp256


class Means(enum.Enum):
    """What there is to recognise a key's content by."""

    HASH = enum.auto()
    SIZE = enum.auto()
    NOTHING = enum.auto()
    GIT_ANNEX = enum.auto()
    """Only an installed git-annex can tell: ``git annex setkey`` checks what it is given."""


class _Hash(Protocol):
    def update(self, data: Buffer, /) -> object: ...

    def hexdigest(self) -> str: ...


def _hashes() -> dict[bytes, Callable[[], _Hash]]:
    hashes: dict[bytes, Callable[[], _Hash]] = {
        b"MD5": partial(hashlib.md5, usedforsecurity=False),
        b"SHA1": partial(hashlib.sha1, usedforsecurity=False),
        b"BLAKE2BP512": blake2bp512,
        b"BLAKE2SP256": blake2sp256,
        b"BLAKE3_256": blake3.blake3,
        b"XXH3": xxhash.xxh3_64,
        b"GITBUNDLE": hashlib.sha256,
    }
    for bits in (224, 256, 384, 512):
        hashes[b"SHA%d" % bits] = getattr(hashlib, f"sha{bits}")
        hashes[b"SHA3_%d" % bits] = getattr(hashlib, f"sha3_{bits}")
    for bits in (160, 224, 256, 384, 512):
        hashes[b"BLAKE2B%d" % bits] = partial(hashlib.blake2b, digest_size=bits // 8)
    for bits in (160, 224, 256):
        hashes[b"BLAKE2S%d" % bits] = partial(hashlib.blake2s, digest_size=bits // 8)
    return hashes


_HASHES = _hashes()

# No library of today has Skein.  BLAKE2SP224 cuts only the last of its hashes
# to 224 bits, which hashlib's BLAKE2 cannot do.
_FOR_GIT_ANNEX = frozenset({b"SKEIN256", b"SKEIN512", b"BLAKE2SP224"})

_INSECURE_HASHES = frozenset({b"MD5", b"SHA1", b"XXH3"})

_KEEPS_NO_EXTENSION = frozenset({b"GITBUNDLE"})

VERIFIABLE_URL = b"VURL"


class Checker:
    """
    Tells whether content that passes by is that of ``key``.

    Feed every byte to ``digest`` (hashlib's own object where there is but one
    hash, for speed), then ask `matches` once.  ``equivalents`` are for keys
    that have any, see `equivalent_keys`.
    """

    __slots__ = ("_hashes", "_size", "_wanted", "digest", "means")

    def __init__(self, key: Key, equivalents: Sequence[Key] = ()) -> None:
        self.means = means(key, equivalents)
        self.digest: Digest = NoDigest()
        self._size = key.size
        self._wanted: list[tuple[_Hash, bytes]] = []
        self._hashes: frozenset[tuple[bytes, bytes]] = frozenset()
        if self.means is Means.HASH:
            self._set_up(equivalents if key.backend == VERIFIABLE_URL else (key,))

    def matches(self, size: int) -> bool:
        """
        Was it the content, ``size`` bytes in all?  What only git-annex can
        check (`Means.GIT_ANNEX`) never matches.
        """
        if self.means is Means.GIT_ANNEX or (self._size is not None and size != self._size):
            return False
        if not self._wanted:
            return True
        return any(digest.hexdigest().encode() == wanted for digest, wanted in self._wanted)

    def means_as(self, other: Checker) -> bool:
        """Whether both tell the same content."""
        return (self._size, self._hashes) == (other._size, other._hashes)

    def _set_up(self, keys: Sequence[Key]) -> None:
        """One hash for each backend, however many keys there are of it."""
        digests: dict[bytes, _Hash] = {}
        self._hashes = frozenset((_without_extension(key.backend), _wanted(key)) for key in keys)
        for key in keys:
            backend = _without_extension(key.backend)
            if backend not in digests:
                digests[backend] = _HASHES[backend]()
            self._wanted.append((digests[backend], _wanted(key)))
        several = tuple(digests.values())
        self.digest = several[0] if len(several) == 1 else _Several(several)


class _Several:
    """Feeds several hashes."""

    def __init__(self, digests: tuple[_Hash, ...]) -> None:
        self._digests = digests

    def update(self, data: Buffer, /) -> None:
        for digest in self._digests:
            digest.update(data)


def means(key: Key, equivalents: Sequence[Key] = ()) -> Means:
    """By what the content of ``key`` can be recognised."""
    backend = _without_extension(key.backend)
    if backend in _HASHES:
        return Means.HASH
    if backend in _FOR_GIT_ANNEX or is_external(key):
        return Means.GIT_ANNEX
    if backend == VERIFIABLE_URL and equivalents:
        hashed = all(_without_extension(other.backend) in _HASHES for other in equivalents)
        return Means.HASH if hashed else Means.GIT_ANNEX
    # WORM, URL, GITMANIFEST, and backends that neither git-annex nor we know.
    return Means.NOTHING if key.size is None else Means.SIZE


def is_external(key: Key) -> bool:
    """Does a program of the user's know the backend (``git-annex-backend-XNAME``)?"""
    return key.backend.startswith(b"X") and _without_extension(key.backend) not in _HASHES


def is_secure(key: Key, equivalents: Sequence[Key] = ()) -> bool:
    """
    May content of ``key`` come here under ``annex.securehashesonly``?

    Of an external backend only git-annex can tell, and it is what has to store
    it anyway: it refuses there what is not secure.
    """
    backend = _without_extension(key.backend)
    if backend == VERIFIABLE_URL:
        # As git-annex: such a key is as secure as its equivalents, and secure while there are none.
        return all(is_secure(other) for other in equivalents)
    if backend in _INSECURE_HASHES:
        return False
    return backend in _HASHES or backend in _FOR_GIT_ANNEX or is_external(key)


def has_equivalents(key: Key) -> bool:
    """May the branch hold an `equivalents_name` for it?"""
    return key.backend == VERIFIABLE_URL


def equivalents_name(log_name: bytes) -> bytes:
    """The file on the git-annex branch beside the location log ``log_name`` that `equivalent_keys` reads."""
    return log_name + b".ek"


def equivalent_keys(log: bytes) -> tuple[Key, ...]:
    """
    The hashes that the content of a ``VURL`` key has been seen to have, from
    a log with lines ``TIMEs STATUS KEY``.  Any of them may be what comes.
    """
    newest: dict[Key, tuple[float, bool]] = {}
    for line in log.splitlines():
        try:
            time, status, raw = line.split(b" ", 2)
            clock, key = float(time.removesuffix(b"s")), Key.parse(raw)
        except ValueError:
            continue
        if key not in newest or clock >= newest[key][0]:
            newest[key] = clock, status == b"1"
    return tuple(key for key, (_, valid) in newest.items() if valid)


def _without_extension(backend: bytes) -> bytes:
    """``SHA256`` for ``SHA256E``, which differ in the name of the key only."""
    short = backend[:-1]
    if backend.endswith(b"E") and short not in _KEEPS_NO_EXTENSION:
        if short in _HASHES or short in _FOR_GIT_ANNEX:
            return short
    return backend


def _wanted(key: Key) -> bytes:
    """The hex digits in a key's name; lower case only, as git-annex has it."""
    if key.backend == b"GITBUNDLE":
        return key.name.rpartition(b"-")[2]
    # Old versions of git-annex took over the backslash with which sha256sum marks odd file names.
    return key.name.partition(b".")[0].removeprefix(b"\\")
