"""
How git's settings ``url.BASE.insteadOf`` and ``url.BASE.pushInsteadOf`` change
the urls of remotes: the longest beginning that is listed is replaced by its
BASE; of several of that length the one that was read first counts.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_BEGIN = b"url."
_FETCH, _PUSH = b".insteadof", b".pushinsteadof"

Beginnings = tuple[tuple[bytes, bytes], ...]
"""What urls begin with, and what stands for it."""


@dataclass(frozen=True, slots=True)
class Rewrites:
    of_all: Beginnings = ()
    of_pushes: Beginnings = ()

    @classmethod
    def of(cls, settings: Iterable[tuple[bytes, bytes]]) -> Rewrites:
        """``settings`` in git's order, with all values of each; names as `git config --list` has them."""
        found = list(settings)
        return cls(_listed(found, _FETCH), _listed(found, _PUSH))

    def fetched(self, url: bytes) -> bytes:
        """Where git goes for what the remote's url is written as, unless to push."""
        return _rewritten(url, self.of_all)

    def pushed(self, url: bytes, push_url: bytes = b"") -> bytes:
        """Where it pushes; ``push_url`` is the remote's ``pushurl``, to which `of_pushes` means nothing."""
        if push_url:
            return self.fetched(push_url)
        rewritten = _rewritten(url, self.of_pushes)
        return self.fetched(url) if rewritten == url else rewritten


def _listed(settings: Iterable[tuple[bytes, bytes]], kind: bytes) -> Beginnings:
    bases: dict[bytes, list[bytes]] = {}
    for name, value in settings:
        base = name[len(_BEGIN) : -len(kind)]
        if name.startswith(_BEGIN) and name.endswith(kind) and base:
            bases.setdefault(base, []).append(value)
    return tuple((value, base) for base, values in bases.items() for value in values)


def _rewritten(url: bytes, beginnings: Beginnings) -> bytes:
    matching = [(beginning, base) for beginning, base in beginnings if url.startswith(beginning)]
    if not url or not matching:
        return url
    beginning, base = max(matching, key=lambda one: len(one[0]))  # the first of the longest
    return base + url[len(beginning) :]
