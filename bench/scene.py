"""A run with everything in place: both sides, and the content that goes to and fro."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Iterator, Sequence

from bench.client import Content, Session
from bench.place import Place, Repository, fill
from bench.plan import Plan
from bench.servers import Annexd, Daemon, Shell, Side, opened


@dataclass(slots=True)
class Scene:
    place: Place
    plan: Plan
    theirs: Side
    ours: Side
    synced: Side | None
    """annexd with fsync, which git-annex-shell does not do."""
    daemon: Daemon | None
    """None when git-annex-shell is measured against itself."""
    seeds: Sequence[Content]
    """Tiny keys that both sides have from the start."""
    tiny: Sequence[Content]
    files: Sequence[Content]
    """Small ones of the size of a text."""
    large: Content
    cipher: str

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.theirs, self.ours

    @property
    def all_sides(self) -> Sequence[Side]:
        return (*self.sides, self.synced) if self.synced else self.sides

    def rounds(self, count: int) -> Iterator[None]:
        """Each begins when the disk has all that the one before left to it."""
        for _ in range(count):
            os.sync()
            yield


def prepare(place: Place, plan: Plan, against_itself: bool, cipher: str) -> Scene:
    """Build everything; the daemon runs afterwards."""
    seeds = _tiny_contents(place, "seeds", plan)
    tiny = _tiny_contents(place, "tiny", plan)
    files = _contents(place, "files", plan.files, 1000)
    source = place.directory / "large"
    large_hash = fill(source, plan.large_bytes)
    large = Content(
        b"SHA256E-s%d--%s.bin" % (plan.large_bytes, large_hash),
        os.open(source, os.O_RDONLY),
        0,
        plan.large_bytes,
    )
    first, second = Repository(place, "a"), Repository(place, "b")
    theirs = Shell("git-annex-shell", first, place.shell)
    for repository in (first, second):
        _seed(place, Shell("seeding", repository, place.shell), seeds)
    if against_itself:
        again = Shell("itself", second, place.shell)
        return Scene(place, plan, theirs, again, None, None, seeds, tiny, files, large, cipher)
    third = Repository(place, "c")
    daemon = Daemon(place, synced=[third], unsynced=[second])
    ours = Annexd("annexd", second, daemon)
    synced = Annexd("annexd, fsync", third, daemon)
    return Scene(place, plan, theirs, ours, synced, daemon, seeds, tiny, files, large, cipher)


def _seed(place: Place, side: Side, seeds: Sequence[Content]) -> None:
    session: Session = opened(place, side)
    for content in seeds:
        session.put(content)
    session.end()


def _tiny_contents(place: Place, name: str, plan: Plan) -> Sequence[Content]:
    return _contents(place, name, plan.tiny_keys, plan.tiny_bytes)


def _contents(place: Place, name: str, count: int, size: int) -> Sequence[Content]:
    """All in one file, one after the other."""
    data = os.urandom(size * count)
    path = place.directory / name
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    contents = []
    for offset in range(0, len(data), size):
        digest = hashlib.sha256(data[offset : offset + size]).hexdigest().encode()
        contents.append(Content(b"SHA256E-s%d--%s.bin" % (size, digest), fd, offset, size))
    return contents
