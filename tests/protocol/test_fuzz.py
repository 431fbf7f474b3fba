from __future__ import annotations

from random import Random

from twisted.trial import unittest

from tests.protocol.fuzz import random_stream, survive


class RandomStreams(unittest.TestCase):
    """The same ones each time; `tests.soak.test_fuzz_protocol` has others."""

    def test_nothing_but_FramingError(self) -> None:
        random = Random(1)
        total = sum(survive(random, random_stream(random)) for _ in range(100))
        self.assertTrue(total > 500, total)

    def test_noise(self) -> None:
        random = Random(2)
        for _ in range(30):
            survive(random, random.randbytes(random.randrange(2000)))
