"""Random networks of gateways, new ones each time, for ``ANNEXD_SOAK_SECONDS``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from random import Random, SystemRandom

from twisted.trial import unittest

from tests.router.test_naming import check_settling
from tests.router.test_topology import check_broken, check_large, check_mixed, check_own_links_down

SECONDS = float(os.environ.get("ANNEXD_SOAK_SECONDS", "60"))


class RandomNetworks(unittest.TestCase):
    timeout = SECONDS + 120

    def repeat(self, check: Callable[[Random], None]) -> None:
        end = time.monotonic() + SECONDS / 5
        while time.monotonic() < end:
            seed = SystemRandom().getrandbits(64)
            try:
                check(Random(seed))
            except Exception as error:
                raise AssertionError(f"random network {seed}: {error!r}") from error

    def test_large(self) -> None:
        self.repeat(lambda random: check_large(self, random, random.randint(1, 50), random.randint(0, 500)))

    def test_own_links_down(self) -> None:
        self.repeat(lambda random: check_own_links_down(self, random, random.randint(1, 15)))

    def test_links_that_fail_elsewhere(self) -> None:
        self.repeat(lambda random: check_broken(self, random, random.randint(1, 30), random.randint(0, 200)))

    def test_mixed(self) -> None:
        self.repeat(lambda random: check_mixed(self, random, random.randint(1, 7), random.random() < 0.5))

    def test_names(self) -> None:
        self.repeat(lambda random: check_settling(self, random, random.randint(1, 8), random.random() < 0.5))
