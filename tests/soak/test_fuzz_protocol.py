"""Random streams through the protocol, new ones each time, for ``ANNEXD_SOAK_SECONDS``."""

from __future__ import annotations

import os
import time
from random import Random, SystemRandom

from twisted.trial import unittest

from tests.protocol.fuzz import random_stream, survive

SECONDS = float(os.environ.get("ANNEXD_SOAK_SECONDS", "60"))


class RandomStreams(unittest.TestCase):
    timeout = SECONDS + 120

    def test_nothing_but_FramingError(self) -> None:
        end = time.monotonic() + SECONDS
        streams = 0
        while time.monotonic() < end:
            seed = SystemRandom().getrandbits(64)
            random = Random(seed)
            noise = random.random() < 0.1
            try:
                survive(
                    random, random.randbytes(random.randrange(100_000)) if noise else random_stream(random)
                )
            except Exception as error:
                raise AssertionError(f"random stream {seed}: {error!r}") from error
            streams += 1
        self.assertTrue(streams)
