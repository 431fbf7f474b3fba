"""Clusters behind annexd whose nodes die, freeze and come back: what clients see of it, and how soon."""

from __future__ import annotations

import os
import signal
import time

from tests.support.cluster_failures import BACKOFF, FailingCluster
from tests.support.processes import start, stop_group, until


class Dead(FailingCluster):
    """A node's machine is gone: connections to it are refused."""

    def test_each_request(self) -> None:
        old, old_content = self.content()
        client = self.hand()
        self.assert_is(client.put(old, old_content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(old, "n1", "n2", "n3")
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
        # Neither yes nor no can be said of what is only there.
        self.assert_is(client.present(old), b"ERROR")
        self.assert_is(client.get(old), b"ERROR")
        alone = self.hand("n1")
        for reply in (alone.present(old), alone.get(old), alone.put(key, content), alone.remove(old)):
            self.assert_is(reply, b"ERROR")

        self.far["n1"].start()
        until(lambda: client.present(old).word == b"SUCCESS", "the node is used again")
        self.assertEqual(client.get(old).content, old_content)
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_is(client.remove(old), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(old)

    def test_a_hundred_of_a_hundred(self) -> None:
        client = self.hand()
        before = [self.content(2000) for _ in range(50)]
        for key, content in before:
            self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.far["n1"].stop()
        for key, content in [*before, *(self.content(2000) for _ in range(50))]:
            is_old = (key, content) in before
            if not is_old:
                self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2", "n3")
            self.assert_is(client.present(key), b"SUCCESS")
            self.assertEqual(client.get(key).content, content)
            self.assert_is(client.remove(key), b"FAILURE-PLUS" if is_old else b"SUCCESS-PLUS", "n2", "n3")
            self.assertEqual(self.cluster.holding(key), {"n1"} if is_old else set())
        self.assertEqual(self.logged_at("n1"), {key for key, _ in before})
        self.assertEqual(self.logged_at("n2"), set())

    def test_only_its_session_is_killed(self) -> None:
        """Which nobody is to notice."""
        client = self.hand()
        key, content = self.content()
        client.put(key, content)
        self.far["n1"].kill_shells()
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.far["n2"].kill_shells()
        # Removal is not tried twice: one that may have got there has failed, and is told as that.
        until(lambda: client.remove(key).word == b"SUCCESS-PLUS", "it is removed")
        self.assert_at(key)

    def test_in_the_middle_of_an_upload(self) -> None:
        client = self.hand()
        key, content = self.content(30 << 20)
        half = len(content) // 2
        self.assertEqual(client.dialogue.ask(b"PUT  " + key), b"PUT-FROM 0")
        client.dialogue.send(b"DATA %d\n" % len(content) + content[:half])
        until(lambda: self.partial("n1", key), "content is on its way")
        self.far["n1"].kill_shells()
        client.dialogue.send(content[half:] + b"VALID\n")
        self.assertEqual(self.named_in(client.dialogue.line()), {"n2", "n3"})
        self.assert_at(key, "n2", "n3")
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key, "n1", "n2", "n3")

    def test_in_the_middle_of_a_download(self) -> None:
        """Of a stock client, which does not notice."""
        client, repo = self.clone()
        content = self.content(32 << 20)[1]
        key = self.add(client, repo, "large", content)
        client.annex(repo, "copy", "--to", "gw-mycluster", "large")
        client.annex(repo, "drop", "--from", "gw-n3", "large")
        client.annex(repo, "drop", "large")
        process = start("git-annex", "get", "--from", "gw-mycluster", "large", cwd=repo, env=client.env)
        self.addCleanup(stop_group, process)
        partial = repo / ".git" / "annex" / "tmp" / key.decode()
        until(lambda: partial.exists() and partial.stat().st_size, "content is on its way")
        os.killpg(process.pid, signal.SIGSTOP)  # or it might have all before the sender is found
        [sender] = [node for node in self.far.values() if node.sending()]
        sender.kill_shells()
        os.killpg(process.pid, signal.SIGCONT)
        said, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual((repo / "large").read_bytes(), content)
        self.assertIn("before the end of", self.annexd().daemon.said())


class Frozen(FailingCluster):
    """A node does not answer: its git-annex-shell, or the whole machine, hangs."""

    connect, deadline = 12.0, 4.0
    node_names = ()
    far_names = ("n1", "n2")

    def test_a_session(self) -> None:
        """As ssh is well, another session is as good."""
        client = self.hand()
        self.until_in_use(client, "n1", "n2")
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2")
        self.far["n1"].freeze_shells()
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n2", within=self.once)
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n2")
        began = time.monotonic()
        until(lambda: len(client.put(*self.content(100)).words) == 3, "the node is used again")
        self.assertLess(time.monotonic() - began, self.first)
        self.far["n1"].thaw()
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n1", "n2")
        self.assert_at(key)

    def test_whatever_is_asked_first(self) -> None:
        """It costs one deadline, and its answer is not made up."""
        client = self.hand()
        self.until_in_use(client, "n1", "n2")
        key, content = self.content()
        self.assert_is(self.hand("n1").put(key, content), b"SUCCESS", within=self.first)
        self.assert_is(client.present(key), b"SUCCESS")
        asks = [
            (lambda: client.present(key), b"ERROR"),
            (lambda: client.get(key), b"ERROR"),
            (lambda: client.remove(key), b"FAILURE-PLUS"),
        ]
        for ask, word in asks:
            self.far["n1"].freeze_shells()
            self.assert_is(ask(), word, *["n2"] * word.endswith(b"PLUS"), within=self.once)
            self.assert_at(key, "n1")
            until(lambda: client.present(key).word == b"SUCCESS", "the node is used again")
        self.far["n1"].thaw()

    def test_a_machine(self) -> None:
        client = self.hand()
        self.until_in_use(client, "n1", "n2")
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2")
        self.far["n1"].freeze_all()
        began = time.monotonic()
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n2", within=self.once)
        # The deadline is paid once, by one client; nobody waits for tries whether it is back.
        while time.monotonic() < began + 2 * self.deadline + 2 * BACKOFF:
            self.assert_is(client.put(*self.content(100)), b"SUCCESS-PLUS", "n2")
            self.assert_is(client.present(key), b"SUCCESS")
            self.assertEqual(client.get(key).content, content)
            self.assert_is(client.remove(key), b"FAILURE-PLUS", "n2")
            self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2")
            self.assert_is(self.hand("n1").present(key), b"ERROR")
        self.assert_at(key, "n1", "n2")

        self.far["n1"].thaw()
        began = time.monotonic()
        until(lambda: len(client.put(*self.content(100)).words) == 3, "the node is used again")
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n1", "n2", within=self.first)
        self.assert_at(key)
