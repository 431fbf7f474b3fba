"""Clusters behind annexd with nodes that take nothing, have lost or spoilt what they had, or are old."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tests.interop.test_hostile import mount
from tests.support.cluster_failures import FailingCluster
from tests.support.processes import run, until
from tests.support.programs import OLDEST, SYSTEM_PATH, program
from tests.support.scenes import key_file

_HUGE = "1000000 terabytes"


class Unwilling(FailingCluster):
    """What a node does not take, others do; and why it does not is said where nobody does."""

    def test_no_room(self) -> None:
        self.reserve("n1", _HUGE)
        self.reserve("n3", _HUGE)
        client = self.hand()
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2")
        self.assert_at(key, "n2")
        self.assertEqual(client.get(key).content, content)
        self.reserve("n2", _HUGE)
        other, content = self.content()
        self.assert_is(client.put(other, content), b"FAILURE")
        self.assert_at(other)
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n1", "n2", "n3")
        for name in ("n1", "n2", "n3"):
            self.reserve(name, "1")
        client = self.hand()
        self.assert_is(client.put(other, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(other, "n1", "n2", "n3")

    def reserve(self, name: str, amount: str) -> None:
        self.host.git(self.cluster.nodes[name], "config", "annex.diskreserve", amount)
        if name in self.far:
            self.far[name].restart_shells()

    def test_disks_that_run_full(self) -> None:
        """In the middle of content whose size nobody knew."""
        for name in ("n1", "n3"):
            annex = self.cluster.nodes[name] / "annex"
            (annex / "tmp").mkdir(exist_ok=True)
            mount(self, annex / "tmp", "-t", "tmpfs", "-o", "size=1m", "annexd-test")
            self.reserve(name, "0")
        content = self.content(4 << 20)[1]
        key = b"SHA256--" + hashlib.sha256(content).hexdigest().encode()
        client = self.hand()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2")
        self.assert_at(key, "n2")
        self.assertEqual(client.get(key).content, content)
        small, content = self.content()
        self.assertIn("n2", self.named(client.put(small, content)))
        self.assert_is(client.remove(small), b"SUCCESS-PLUS", "n1", "n2", "n3")

    def test_read_only(self) -> None:
        client = self.hand()
        old, old_content = self.content()
        self.assert_is(client.put(old, old_content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        key, content = self.content()
        self.far["n1"].serve(GIT_ANNEX_SHELL_READONLY="1")
        self.far["n1"].restart_shells()
        self.host.git(self.served, "config", "remote.n3.annex-readonly", "true")
        client = self.hand()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2")
        self.assert_at(key, "n2")
        self.assert_is(client.remove(old), b"FAILURE-PLUS", "n2")
        self.assert_at(old, "n1", "n3")
        self.assertEqual(client.get(old).content, old_content)
        reply = self.hand("n1").put(key, content)
        self.assert_is(reply, b"ERROR")
        self.assertIn("read-only", reply.text)
        self.assertIn("annex-readonly", self.hand("n3").put(key, content).text)
        # And where nobody takes it.
        self.host.git(self.served, "config", "remote.n2.annex-readonly", "true")
        client = self.hand()
        reply = client.put(*self.content())
        self.assert_is(reply, b"ERROR")
        for words in ("n1", "read-only", "n2", "n3", "annex-readonly"):
            self.assertIn(words, reply.text)
        self.assert_is(client.remove(old), b"ERROR")
        self.assert_at(old, "n1", "n3")

    def test_files_that_cannot_be_written(self) -> None:
        """As for a node whose disk the kernel has made read-only."""
        for name in ("n1", "n3"):
            disk = self.cluster.nodes[name]
            mount(self, disk, "--bind", str(disk))
            remount(disk, "ro")
        key, content = self.content()
        client = self.hand()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n2")
        self.assert_at(key, "n2")
        self.assert_is(client.present(key), b"SUCCESS")
        self.assertEqual(client.get(key).content, content)
        for name in ("n1", "n3"):
            remount(self.cluster.nodes[name], "rw")
        self.assert_is(self.hand().put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key, "n1", "n2", "n3")


class Wrong(FailingCluster):
    """What is known of the nodes, or what they have, is not right."""

    def test_content_that_has_gone_behind_everybodys_back(self) -> None:
        client = self.hand()
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        for name in ("n1", "n3"):
            self.lose(name, key)
        self.assertEqual(client.get(key).content, content)
        self.assert_is(client.present(key), b"SUCCESS")
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key, "n1", "n2", "n3")
        for name in ("n1", "n2", "n3"):
            self.lose(name, key)
        self.assert_is(client.present(key), b"FAILURE")
        self.assert_at(key)
        self.assert_is(client.get(key), b"INVALID")
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        for name in ("n1", "n2", "n3"):
            self.lose(name, key)
        self.assert_is(client.get(key), b"INVALID")
        self.assert_at(key)
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        for name in ("n1", "n2", "n3"):
            self.lose(name, key)
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key, "n1", "n2", "n3")

    def test_content_that_has_come_behind_everybodys_back(self) -> None:
        key, content = self.content()
        self.far["n1"].machine.set_key(self.far["n1"].path, key, content)
        self.assertEqual(self.cluster.logged(key), set())
        client = self.hand()
        self.assertEqual(client.get(key).content, content)
        until(lambda: self.cluster.logged(key) == {"n1"}, "the log is right")
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key)

    def test_content_that_is_spoilt(self) -> None:
        client = self.hand()
        for size in (50_000, 3 << 20):
            key, content = self.content(size)
            self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
            # Of another length: that is noticed before anything is sent.
            self.spoil("n3", key, content[:-10])
            self.assertEqual(client.get(key).content, content)
            self.spoil("n3", key, content + b"more")
            self.assertEqual(client.get(key).content, content)
            # Of the same length: whoever gets it finds out, as from any repository.
            self.spoil("n3", key, b"?" * size)
            reply = client.get(key)
            self.assertTrue(reply.content == content or reply.content == b"?" * size)

    def test_spoilt_content_and_a_stock_client(self) -> None:
        client, repo = self.clone()
        content = self.content()[1]
        key = self.add(client, repo, "file", content)
        client.annex(repo, "copy", "--to", "gw-mycluster", "file")
        client.annex(repo, "drop", "file")
        for name in ("n1", "n2", "n3"):
            self.spoil(name, key, b"?" * len(content))
        code, said = client.tries(repo, "get", "file")
        self.assertNotEqual(code, 0)
        self.assertIn(b"erification", said)
        self.assertFalse((repo / "file").exists())
        self.spoil("n2", key, content)
        client.annex(repo, "get", "file")
        self.assertEqual((repo / "file").read_bytes(), content)

    def test_another_repository_is_there(self) -> None:
        client = self.hand()
        old, old_content = self.content()
        self.assert_is(client.put(old, old_content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        uuids = self.uuids
        for name in ("n1", "n3"):
            other = f"11111111-2222-4333-8444-55555555555{name[1]}"
            self.host.git(self.cluster.nodes[name], "config", "annex.uuid", other)
        self.far["n1"].restart_shells()
        client = self.hand()
        key, content = self.content()
        reply = client.put(key, content)
        self.assertEqual((reply.word, reply.words[1:]), (b"SUCCESS-PLUS", (uuids["n2"],)))
        reply = client.remove(old)
        self.assertEqual((reply.word, reply.words[1:]), (b"FAILURE-PLUS", (uuids["n2"],)))
        self.assert_is(client.present(old), b"ERROR")
        self.assert_is(client.get(old), b"ERROR")
        self.assertEqual(self.cluster.holding(key), {"n2"})
        self.assertEqual(self.cluster.holding(old), {"n1", "n3"})
        for name, uuid in uuids.items():
            self.host.git(self.cluster.nodes[name], "config", "annex.uuid", uuid)
        self.assertEqual(self.cluster.logged(key), {"n2"})
        self.assertEqual(self.cluster.logged(old), {"n1", "n3"})

    def lose(self, name: str, key: bytes) -> None:
        path = self.object(name, key)
        os.chmod(path.parent, 0o755)
        shutil.rmtree(path.parent)

    def spoil(self, name: str, key: bytes, content: bytes) -> None:
        path = self.object(name, key)
        os.chmod(path.parent, 0o755)
        path.chmod(0o644)
        path.write_bytes(content)
        path.chmod(0o444)

    def object(self, name: str, key: bytes) -> Path:
        file = os.fsdecode(key_file(key))
        [path] = (self.cluster.nodes[name] / "annex" / "objects").glob(f"*/*/{file}/{file}")
        return path


class Old(FailingCluster):
    """Nodes that speak old versions of the protocol, beside those that speak the newest."""

    far_names = ("n1", "n2")
    versions = {"n1": OLDEST, "n2": OLDEST}

    def test_each_request(self) -> None:
        self.far["n2"].serve_version_0()
        self.far["n2"].restart_shells()
        client = self.hand()
        key, content = self.content()
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key, "n1", "n2", "n3")
        self.assert_is(client.remove(key), b"SUCCESS-PLUS", "n1", "n2", "n3")
        self.assert_at(key)
        self.assert_is(client.put(key, content), b"SUCCESS-PLUS", "n1", "n2", "n3")
        for name in ("n1", "n2"):
            alone = self.hand(name)
            self.assert_is(alone.present(key), b"SUCCESS")
            self.assert_is(alone.get(key), b"VALID")
            now = int(alone.dialogue.ask(b"GETTIMESTAMP").split()[1])
            self.assertEqual(alone.dialogue.ask(b"REMOVE-BEFORE %d %s" % (now - 100, key)), b"FAILURE")
            self.assertEqual(alone.dialogue.ask(b"REMOVE-BEFORE %d %s" % (now + 100, key)), b"SUCCESS")
            self.assert_is(alone.present(key), b"FAILURE")
            self.assert_is(alone.get(key), b"INVALID")
            self.assertNotIn(name, self.cluster.logged(key))
            self.assert_is(alone.put(key, content), b"SUCCESS")
            self.assertEqual(alone.dialogue.ask(b"LOCKCONTENT " + key), b"SUCCESS")
            alone.dialogue.send(b"UNLOCKCONTENT\n")
            self.assert_at(key, "n1", "n2", "n3")
        now = int(client.dialogue.ask(b"GETTIMESTAMP").split()[1])
        self.assertTrue(client.dialogue.ask(b"REMOVE-BEFORE %d %s" % (now - 100, key)).startswith(b"FAILURE"))
        self.assert_at(key, "n1", "n2", "n3")
        said = client.dialogue.ask(b"REMOVE-BEFORE %d %s" % (now + 100, key))
        self.assertEqual(self.named_in(said), {"n1", "n2", "n3"})
        self.assert_at(key)

    def test_wrong_content_and_old_clients(self) -> None:
        """No version is a way around verification."""
        self.far["n2"].serve_version_0()
        self.far["n2"].restart_shells()
        for version in (None, 1, 2, 4):
            client = self.hand(version=version)
            key, content = self.content()
            verdict = b"" if version is None else b"VALID\n"
            said = client.dialogue.put(key, b"?" * len(content), verdict=verdict)
            self.assertEqual(said, b"FAILURE")
            self.assert_at(key)
            said = client.dialogue.put(key, content, verdict=verdict)
            self.assertTrue(said.startswith(b"SUCCESS"), said)
            self.assert_at(key, "n1", "n2", "n3")


def remount(disk: Path, how: str) -> None:
    mount_program = program("mount", "mount")
    run(mount_program, "-o", f"remount,bind,{how}", disk, cwd=disk.parent, env={"PATH": SYSTEM_PATH})
