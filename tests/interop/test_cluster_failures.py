"""Clusters behind annexd whose nodes die, freeze and come back: what clients see of it, and how soon."""

from __future__ import annotations

from tests.support.cluster_failures import AT_ONCE, DEADLINE, FailingCluster
from tests.support.processes import until

ONCE = DEADLINE + AT_ONCE


class Dead(FailingCluster):
    def test_killed_and_refusing(self) -> None:
        old, old_content = self.content()
        client = self.hand()
        self.assert_is(client.put(old, old_content), b"SUCCESS-PLUS", "n1", "n2", "n3", within=5)
        self.assert_at(old, "n1", "n2", "n3")

        self.far["n1"].kill_shells()
        self.assert_is(client.present(old), b"SUCCESS")
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3", within=5)

        self.far["n1"].stop()
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2", "n3")
        self.assert_is(client.present(key), b"SUCCESS")
        self.assertEqual(client.get(key).content, content)
        self.assert_is(client.remove(old), b"FAILURE-PLUS", "n2", "n3")
        self.assert_at(old, "n1")
        self.assert_at(key, "n2", "n3")
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n2", "n3")
        self.assert_at(key)
