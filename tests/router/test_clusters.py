"""What tells clusters from repositories."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.clusters import is_cluster
from tests.support.clusters import CLUSTER


class Uuids(SynchronousTestCase):
    def test_clusters(self) -> None:
        self.assertTrue(is_cluster(CLUSTER))

    def test_others(self) -> None:
        for uuid in (
            b"",
            b"n1",
            CLUSTER[:-1],
            b"ac808f00-0000-4000-8000-000000000000",
            b"bc808f00-0000-8000-8000-000000000000",
        ):
            self.assertFalse(is_cluster(uuid))
