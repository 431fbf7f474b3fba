from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.support.cluster_failures import FIRST, FailingCluster
from tests.support.processes import until


class FuseDisk:
    def __init__(self, directory: Path) -> None:
        self.back, self.point, self.flag = directory / "back", directory / "disk", directory / "FLAG"
        self.back.mkdir()
        self.point.mkdir()
        self.process = subprocess.Popen(
            [
                "/usr/bin/env",
                "python3",
                "/tmp/hd_fuse/freeze.py",
                str(self.back),
                str(self.point),
                str(self.flag),
            ],
            stdout=open(directory / "fuse.log", "wb"),
            stderr=subprocess.STDOUT,
        )
        until(lambda: os.path.ismount(self.point), "mounted")

    def freeze(self) -> None:
        self.flag.touch()

    def thaw(self) -> None:
        self.flag.unlink(missing_ok=True)

    def close(self) -> None:
        self.thaw()
        subprocess.run(["umount", "-l", str(self.point)], check=False)
        self.process.kill()
        self.process.wait()


class Hung(FailingCluster):
    node_names = ("n2", "n3")
    far_names = ()

    def add_nodes(self) -> None:
        super().add_nodes()
        self.disk = FuseDisk(self.directory)
        self.addCleanup(self.disk.close)
        node = self.host.new(str(self.disk.point / "n1"), bare=True)
        self.cluster.attach("n1", node, str(node))

    def threads(self) -> list[str]:
        pid = self.annexd().daemon.pid
        return sorted(
            Path(f"/proc/{pid}/task/{t}/wchan").read_text()
            + " "
            + Path(f"/proc/{pid}/task/{t}/comm").read_text().strip()
            for t in os.listdir(f"/proc/{pid}/task")
        )

    def test_node(self) -> None:
        client = self.hand()
        old, old_content = self.content()
        self.assert_is(client.put(old, old_content), b"SUCCESS-PLUS", "n1", "n2", "n3", within=FIRST)
        self.assert_at(old, "n1", "n2", "n3")
        only, only_content = self.content()
        alone = self.hand("n1")
        print(alone.put(only, only_content))
        self.disk.freeze()
        for what in ("put", "put", "put"):
            r = client.put(*self.content())
            print(what, r.text, r.seconds)
        print(client.present(old), client.get(old).seconds)
        other = self.hand()
        print(
            "present of what is only there",
            client.present(only),
            alone.present(only),
            alone.get(only),
            other.remove(old),
            other.present(old),
        )
        print(self.annexd().daemon.status()["nodes"])
        print(*self.threads(), sep="\n")
        n2 = self.hand("n2")
        for _ in range(30):
            r = n2.put(*self.content())
            self.assertLess(r.seconds, 1)
        self.disk.thaw()
        b = time.monotonic()
        until(lambda: client.present(only).word == b"SUCCESS", "back")
        print("back after", time.monotonic() - b)
        print(client.put(*self.content()).text, client.remove(old).text)
        print(self.annexd().daemon.status()["nodes"])
        print(self.annexd().daemon.said()[-3000:])

    def stop(self, b):
        daemon = self.annexd().daemon
        process = daemon.process
        process.send_signal(15)
        until(lambda: " stopped" in daemon.said(), "stopped", 90)
        print("stopped after", time.monotonic() - b)
        time.sleep(1)
        print(*self.threads(), sep="\n")
        print("poll", process.poll(), os.path.exists(daemon.socket))
        self.disk.thaw()
        print(process.wait(20), time.monotonic() - b)
        print(self.annexd().daemon.said()[-3000:])
        daemon.process = None

    def test_stop(self) -> None:
        client = self.hand()
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n1", "n2", "n3", within=FIRST)
        self.disk.freeze()
        print(client.put(*self.content()).seconds)
        b = time.monotonic()
        client.dialogue.close()
        self.stop(b)

    def test_stop_before_it_is_known(self) -> None:
        client = self.hand()
        self.assert_is(client.put(*self.content()), b"SUCCESS-PLUS", "n1", "n2", "n3", within=FIRST)
        self.disk.freeze()
        key, content = self.content()
        client.dialogue.send(b"PUT  " + key + b"\n")
        time.sleep(0.3)
        b = time.monotonic()
        self.stop(b)

    def test_download(self) -> None:
        client = self.hand()
        alone = self.hand("n1")
        key, content = self.content(200 << 20)
        print(alone.put(key, content).text)
        print(client.put(key, content).text)
        self.hand("n3").remove(key)
        client.dialogue.send(b"GET 0  " + key + b"\n")
        client.dialogue.line()
        print("reading")
        got = client.dialogue.body(1 << 20)
        self.disk.freeze()
        b = time.monotonic()
        rest = client.dialogue.body(len(content) - len(got))
        print("after", time.monotonic() - b, got + rest == content, client.dialogue.line())
        self.disk.thaw()
        print(self.annexd().daemon.said()[-3000:])

    def test_upload(self) -> None:
        client = self.hand()
        alone = self.hand("n1")
        for c in (client, alone):
            key, content = self.content(60 << 20)
            half = len(content) // 2
            print(c.dialogue.ask(b"PUT  " + key))
            c.dialogue.send(b"DATA %d\n" % len(content) + content[:half])
            time.sleep(1)
            self.disk.freeze()
            b = time.monotonic()
            c.dialogue.send(content[half:] + b"VALID\n")
            print(c.dialogue.line(), time.monotonic() - b)
            self.disk.thaw()
            time.sleep(2)
            print(self.partial("n1", key))
        print(self.annexd().daemon.said()[-3000:])

    def test_download_alone(self) -> None:
        client = self.hand()
        key, content = self.content(200 << 20)
        print(client.put(key, content).text)
        self.hand("n3").remove(key)
        self.hand("n2").remove(key)
        for again in range(2):
            c = client if again == 0 else self.hand("n1")
            c.dialogue.send(b"GET 0  " + key + b"\n")
            print(c.dialogue.line())
            got = c.dialogue.body(1 << 20)
            self.disk.freeze()
            b = time.monotonic()
            try:
                rest = c.dialogue.body(len(content) - len(got))
                print("after", time.monotonic() - b, got + rest == content, c.dialogue.line())
            except BaseException as e:
                print("after", time.monotonic() - b, type(e), e)
            self.disk.thaw()
            time.sleep(1)
        print(self.hand("n1").present(key))
        print(self.annexd().daemon.said()[-3000:])


class Entry(FailingCluster):
    node_names = ("n2", "n3")
    far_names = ()

    def place(self) -> Path:
        self.disk = FuseDisk(self.directory)
        self.addCleanup(self.disk.close)
        return self.disk.point / "served"

    def make_server(self):
        server = super().make_server()
        self.other = self.host.new(str(self.directory / "other"), bare=True)
        self.nested = self.directory / "many"
        self.nested.mkdir()
        server.daemon.repos = (*server.daemon.repos, self.other)
        return server

    def add_nodes(self) -> None:
        for name in self.node_names:
            node = self.host.new(str(self.directory / name), bare=True)
            self.cluster.attach(name, node, str(node))

    def test_it(self) -> None:
        from tests.support.p2p import Dialogue, shell_command

        client = self.hand()
        key, content = self.content()
        print(client.put(key, content))
        own = self.dialogue()
        own.hello(4)
        busy = self.dialogue()
        busy.hello(4)
        print(own.put(key, content))
        idle = self.dialogue()
        idle.hello(4)
        ssh, repo = self.clone()
        self.disk.freeze()
        b = time.monotonic()

        def ask(d, line):
            try:
                d.send(line)
                r = d.line()
            except BaseException as e:
                r = repr(e)
            print(line, r, time.monotonic() - b)

        busy.send(b"CHECKPRESENT " + key + b"\n")
        ask(own, b"CHECKPRESENT " + key + b"\n")
        try:
            print("busy", busy.line(), time.monotonic() - b)
        except BaseException as e:
            print(repr(e))
        uuid = self.host.uuid(self.other)
        d = Dialogue(self.server.command(), self.server.env(), shell_command(self.other, uuid.decode()))
        d.hello(4)
        for _ in range(20):
            b = time.monotonic()
            k, c = self.content()
            print(d.put(k, c), round(time.monotonic() - b, 3), end=" ")
        print()
        for what in (idle, client.dialogue):
            try:
                print("idle", what.line())
            except BaseException as e:
                print(repr(e))
        for _ in range(12):
            b = time.monotonic()
            n = self.open_session()
            try:
                n.hello(4)
                print("new", time.monotonic() - b)
            except BaseException as e:
                print(repr(e)[:200], round(time.monotonic() - b, 3))
            n.close()
        b = time.monotonic()
        print(ssh.tries(repo, "copy", "--to", "gw", "x"), time.monotonic() - b)
        print(ssh.tries(repo, "sync", "gw")[1][-600:] if False else "")
        print(self.annexd().daemon.status())
        self.disk.thaw()
        n = self.dialogue()
        n.hello(4)
        print(n.ask(b"CHECKPRESENT " + key))
        print(self.annexd().daemon.said()[-6000:])
