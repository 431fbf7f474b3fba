"""Uploads to a cluster that are interrupted, at the client or at the gateway, and many at once."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from tests.support.annex import litter
from tests.support.cluster_failures import FailingCluster, Reply
from tests.support.far_nodes import FarNode
from tests.support.processes import running, start, stop_group, until

T = TypeVar("T")

_WORDS = 20_000
"""Bytes of all that is said to a node beside content, at most."""


class Uploads(FailingCluster):
    seconds = 60.0

    def assert_sound(self) -> None:
        """Of the nodes: nothing is left of what was interrupted, and fsck has nothing to say."""
        for name, node in self.cluster.nodes.items():
            self.assertEqual(litter(node), {}, name)
            self.assertEqual(self.host.annex(node, "fsck", "--all", "--quiet", seconds=600), b"", name)

    def until_settled(self) -> None:
        """Sessions with nodes are kept for a while; what they have written is committed at their end."""
        shells = [pid for node in self.far.values() for pid in node.shells()]
        self.server.stop()
        until(lambda: not any(map(running, shells)), "the nodes' sessions have ended", self.seconds)


class Interrupted(Uploads):
    megabytes = 32
    interruptions = 2

    def test_clients_are_killed_and_a_node_is_added(self) -> None:
        client, repo = self.clone()
        size = self.megabytes << 20
        key = self.add(client, repo, "large", self.content(size)[1])
        former = dict.fromkeys(("n1", "n2", "n3"), 0)
        for number in range(1, self.interruptions + 1):
            process = start("git-annex", "copy", "--to", "gw-mycluster", "large", cwd=repo, env=client.env)
            self.until_kept(process, key, size * number // (self.interruptions + 3))
            stop_group(process, signal.SIGKILL)
            until(lambda: not self.annexd().daemon.status()["sessions"], "the session has ended")
            self.until_no_shells()
            kept = {name: self.partial(name, key) for name in former}
            for name in former:
                self.assertGreaterEqual(kept[name], former[name], name)
            self.assertEqual(self.cluster.holding(key), set())
            self.assertEqual(self.cluster.logged(key), set())
            former = kept
        self.assertTrue(all(0 < kept < size for kept in former.values()), former)

        self.add_far_node("n4")
        self.cluster.update()
        client.annex(repo, "copy", "--to", "gw-mycluster", "large", seconds=2 * self.seconds)
        self.assert_at(key, "n1", "n2", "n3", "n4")
        for name, node in self.far.items():
            self.until_taken(node, size)
            self.assertLess(node.taken.stat().st_size, size + _WORDS, f"{name} got more than it lacked")
        self.until_settled()
        self.assert_sound()

    def until_taken(self, node: FarNode, size: int) -> None:
        """What comes in is passed on before it is kept."""
        until(lambda: node.taken.stat().st_size > size, f"{node.name} got what it lacked")

    def until_no_shells(self) -> None:
        until(lambda: not any(node.shells() for node in self.far.values()), "the nodes' sessions have ended")

    def until_kept(self, upload: subprocess.Popen[bytes], key: bytes, size: int) -> None:
        """By the node on this disk, which is the fastest."""
        until(
            lambda: self.partial("n3", key) >= size or upload.poll() is not None, "content is on its way", 60
        )
        if upload.poll() is not None:
            assert upload.stdout is not None
            self.fail(f"the upload ended before it was interrupted: {upload.stdout.read()!r}")

    def test_the_gateway_is_killed(self) -> None:
        key, content = self.content(self.megabytes << 20)
        client = self.hand()
        client.dialogue.ask(b"PUT  " + key)
        client.dialogue.send(b"DATA %d\n" % len(content) + content[: len(content) // 2])
        until(lambda: all(self.partial(name, key) for name in self.cluster.nodes), "content is on its way")
        self.annexd().daemon.kill()
        self.until_no_shells()
        self.assertEqual(self.cluster.logged(key), set())
        self.assertEqual(self.cluster.holding(key), set())
        kept = {name: self.partial(name, key) for name in self.cluster.nodes}
        self.assertTrue(all(0 < size < len(content) for size in kept.values()), kept)

        self.annexd().daemon.start()
        for node in self.far.values():
            node.taken.unlink()
        client = self.hand()
        offset = min(kept.values())
        self.assertEqual(client.dialogue.ask(b"PUT  " + key), b"PUT-FROM %d" % offset)
        client.dialogue.send(b"DATA %d\n" % (len(content) - offset) + content[offset:] + b"VALID\n")
        self.assertEqual(self.named_in(client.dialogue.line()), {"n1", "n2", "n3"})
        self.assert_at(key, "n1", "n2", "n3")
        for name, node in self.far.items():
            lacked = len(content) - kept[name]
            self.until_taken(node, lacked)
            self.assertLess(node.taken.stat().st_size, lacked + _WORDS, name)
        client.dialogue.close()
        self.until_settled()
        self.assert_sound()


class AtOnce(Uploads):
    """Many clients, the same content and different content."""

    sessions = 50
    keys_each = 4
    stock_clients = 4

    def test_two_and_ten_clients_with_the_same(self) -> None:
        for count in (2, 10):
            for size in (100, 2 << 20):
                key, content = self.content(size)
                clients = [self.hand() for _ in range(count)]
                replies = at_once([partial(client.put, key, content) for client in clients])
                for reply in replies:
                    self.assertIn(reply.word, (b"SUCCESS-PLUS", b"ALREADY-HAVE-PLUS"))
                    self.assertEqual(self.named(reply), {"n1", "n2", "n3"}, reply.text)
                self.assertEqual([r.word for r in replies].count(b"SUCCESS-PLUS"), 1)
                self.assert_at(key, "n1", "n2", "n3")
                for client in clients:
                    client.dialogue.finish()
        self.until_settled()
        self.assert_sound()

    def test_stock_clients(self) -> None:
        """Half of them have the same file, all have another one."""
        half = self.stock_clients // 2
        clients = [self.clone(f"client{number}") for number in range(self.stock_clients)]
        same = self.content()[1]
        keys = set()
        for number, (client, repo) in enumerate(clients):
            keys.add(self.add(client, repo, "own", self.content()[1]))
            keys.add(self.add(client, repo, "shared", same + (b"" if number < half else b"%d" % number)))
        uploads = [
            start("git-annex", "copy", "--to", "gw-mycluster", ".", cwd=repo, env=client.env)
            for client, repo in clients
        ]
        for upload in uploads:
            said, _ = upload.communicate(timeout=300)
            self.assertEqual(upload.returncode, 0, said)
        self.assertEqual(len(keys), 2 * self.stock_clients - half + 1)
        for name in self.cluster.nodes:
            self.assertEqual(self.logged_at(name), keys)
            self.assertTrue(all(name in self.cluster.holding(key) for key in keys))
        self.until_settled()
        self.assert_sound()

    def test_many_sessions_with_tiny_content(self) -> None:
        parts = [[self.content(100) for _ in range(self.keys_each)] for _ in range(self.sessions)]

        def upload(part: Sequence[tuple[bytes, bytes]]) -> list[Reply]:
            client = self.open_hand(seconds=300)
            try:
                return [client.put(key, content) for key, content in part]
            finally:
                client.dialogue.finish()

        replies = at_once([partial(upload, part) for part in parts])
        for reply in (reply for some in replies for reply in some):
            self.assertEqual(reply.word, b"SUCCESS-PLUS")
            self.assertEqual(self.named(reply), {"n1", "n2", "n3"}, reply.text)
        keys = {key for part in parts for key, _ in part}
        for name in self.cluster.nodes:
            self.assertEqual(self.logged_at(name), keys)
        self.until_settled()
        self.assert_sound()


def at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    with ThreadPoolExecutor(len(acts)) as threads:
        return [done.result() for done in [threads.submit(act) for act in acts]]
