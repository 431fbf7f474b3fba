"""Links between a gateway and its nodes that are cut, and content that is locked at the nodes."""

from __future__ import annotations

import time

from tests.support.cluster_failures import BACKOFF, Client, FailingCluster
from tests.support.namespaces import Namespace
from tests.support.processes import Failed, until


class Cut(FailingCluster):
    """One node is behind a network that fails: nothing arrives, and nobody is told."""

    connect, deadline = 12.0, 4.0
    node_names = ()
    far_names = ("n2",)

    def add_nodes(self) -> None:
        super().add_nodes()
        self.network = Namespace()
        self.addCleanup(self.network.close)
        self.add_far_node("n1", self.network)

    def test_cut_and_restored(self) -> None:
        client = self.hand()
        self.until_in_use(client, "n1", "n2")
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2")
        self.network.cut()
        began = time.monotonic()
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n2", within=self.once)
        while time.monotonic() < began + 2 * self.deadline + 2 * BACKOFF:
            self.assert_is(client.put(*self.content(100)), b"SUCCESS-PLUS", "n2")
            self.assertEqual(client.get(key).content, content)
            self.assert_is(client.present(key), b"SUCCESS")
        self.assert_is(client.remove(key), b"FAILURE-PLUS", "n2")
        self.assert_at(key, "n1")
        self.assert_is(client.present(key), b"ERROR")

        self.network.restore()
        until(lambda: client.present(key).word == b"SUCCESS", "the node is used again")
        self.assertEqual(client.get(key).content, content)
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n1", "n2")
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n1", "n2")
        self.assert_at(key)

    def test_in_the_middle_of_an_upload(self) -> None:
        client = self.hand()
        self.until_in_use(client, "n1", "n2")
        key, content = self.content(24 << 20)
        half = len(content) // 2
        self.assertEqual(client.dialogue.ask(b"PUT  " + key), b"PUT-FROM 0")
        client.dialogue.send(b"DATA %d\n" % len(content) + content[:half])
        until(lambda: self.partial("n1", key) > half // 2, "content is on its way")
        self.network.cut()
        began = time.monotonic()
        client.dialogue.send(content[half:] + b"VALID\n")
        self.assertEqual(self.named_in(client.dialogue.line()), {"n2"})
        self.assertLess(time.monotonic() - began, self.deadline + self.first)
        self.assert_at(key, "n2")
        self.network.restore()
        until(lambda: self.named(client.put(key, content)) == {"n1", "n2"}, "the node is used again")
        self.assert_at(key, "n1", "n2")

    def test_in_the_middle_of_a_download(self) -> None:
        client = self.hand()
        self.until_in_use(client, "n1", "n2")
        key, content = self.content(24 << 20)
        self.assert_is(self.hand("n1").put(key, content), b"SUCCESS", within=self.first)
        self.assertEqual(client.dialogue.ask(b"GET 0  " + key), b"DATA %d" % len(content))
        first = client.dialogue.body(1 << 20)
        self.network.cut()
        self.far["n2"].machine.set_key(self.far["n2"].path, key, content)
        began = time.monotonic()
        rest = client.dialogue.body(len(content) - len(first))
        self.assertLess(time.monotonic() - began, self.deadline + self.first)
        self.assertEqual(first + rest, content)
        # Neither of the two has vouched for all of it.
        self.assertEqual(client.dialogue.line(), b"INVALID")


class Locks(FailingCluster):
    """Content that is locked at a node through the gateway stays as long as both ends are there."""

    def setUp(self) -> None:
        super().setUp()
        self.key, content = self.content()
        self.assert_is(self.hand().put(self.key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")

    def test_the_client_is_killed(self) -> None:
        for name in ("n1", "n3"):
            locker, other = self.hand(name), self.hand(name)
            self.assertEqual(locker.dialogue.ask(b"LOCKCONTENT " + self.key), b"SUCCESS")
            self.assertNotEqual(other.remove(self.key).word, b"SUCCESS")
            self.assertIn(name, self.cluster.holding(self.key))
            locker.dialogue.close()
            self.until_removed(other)
            self.assertNotIn(name, self.cluster.holding(self.key))
            self.assertNotIn(name, self.cluster.logged(self.key))

    def test_the_node_goes_away(self) -> None:
        """Then the client is told, in the only way that there is."""
        locker = self.hand("n1")
        self.assertEqual(locker.dialogue.ask(b"LOCKCONTENT " + self.key), b"SUCCESS")
        self.far["n1"].stop()
        began = time.monotonic()
        self.assert_ends(locker)
        self.assertLess(time.monotonic() - began, self.at_once)

    def test_on_the_cluster(self) -> None:
        self.assertEqual(self.hand().dialogue.ask(b"LOCKCONTENT " + self.key), b"FAILURE")
        self.far["n2"].stop()
        self.assertEqual(self.hand("n2").dialogue.ask(b"LOCKCONTENT " + self.key), b"FAILURE")

    def until_removed(self, client: Client) -> None:
        until(lambda: client.remove(self.key).word == b"SUCCESS", "it is let go")

    def assert_ends(self, client: Client) -> None:
        self.assertRaisesRegex(Failed, "the session ended", client.dialogue.line)
