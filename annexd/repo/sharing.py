"""One hash for content that goes into several repositories at once."""

from __future__ import annotations

import threading

from annexd.flow.body import Buffer, Digest


class Common:
    """
    A digest that is fed once, by whoever comes to a piece first.  Everybody
    has a `Share`, and brings the same bytes from the beginning on.
    """

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self.fed = 0
        self._mutex = threading.Lock()

    def feed(self, data: memoryview, offset: int) -> None:
        """``data`` is what there is from ``offset`` on."""
        with self._mutex:
            new = data[max(0, self.fed - offset) :]
            if new:
                self._digest.update(new)
                self.fed += len(new)


class Share:
    """What one of them feeds: a `Digest` for one thread at a time."""

    def __init__(self, common: Common) -> None:
        self.common = common
        self._offset = 0

    @property
    def complete(self) -> bool:
        """Whether it has brought all that there was: only then the digest speaks of it."""
        return self._offset == self.common.fed

    def update(self, data: Buffer, /) -> None:
        view = memoryview(data)
        self.common.feed(view, self._offset)
        self._offset += len(view)
