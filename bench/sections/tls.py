"""Over TLS: beside OpenSSL alone, beside ssh, and what sessions that do nothing cost."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from typing import Callable, Iterator, Sequence

from bench.client import Content, Session
from bench.processes import cpu_seconds, memory
from bench.report import Goal, Row
from bench.scene import Scene
from bench.sections.memory import SETTLE_SECONDS
from bench.servers import Cat
from bench.sshd import Sshd
from bench.tls import TlsDaemon, TlsSession, openssl_get, openssl_put, openssl_put_written

Result = dict[str, list[float]]

MOST_IDLE_KB = 150.0
# "Not slower": a run against itself differs by this much.
_NOT_SLOWER = Goal("ratio", least=0.95)
_OPENSSL, _WRITTEN, _CAT, _SHELL = "OpenSSL alone", "OpenSSL, hash and write", "ssh cat", "over ssh"


def rows(scene: Scene) -> Iterator[Row]:
    # One of its own: what others have used and given back would hide what sessions take.
    server = TlsDaemon(scene.place, scene.ours.repository, "tls")
    results: Result = defaultdict(list)
    cat = Cat(scene.theirs.repository)
    sshd = Sshd(scene.place, [scene.theirs, cat], scene.cipher, "ssh-beside-tls")
    try:
        idle = list(_idle(scene, server))
        sshd.open_master(scene.theirs)
        sshd.open_master(cat)
        _large(scene, server, sshd, cat, results)
        _small(scene, server, sshd, results)
        sshd.close_master(scene.theirs)
        sshd.close_master(cat)
    finally:
        sshd.stop()
        server.stop()
    yield from _large_rows(scene, results)
    yield from _small_rows(scene, results)
    yield from idle


# --- large objects -------------------------------------------------------------


def _large(scene: Scene, server: TlsDaemon, sshd: Sshd, cat: Cat, results: Result) -> None:
    certificate = scene.place.directory / "tls-state" / "tls.pem"
    _cycle(scene, server, defaultdict(list))
    for _ in scene.rounds(scene.plan.tls_rounds):
        results["get openssl"].append(openssl_get(certificate, scene.large))
        scene.place.settle(2 * scene.large.size)
        results["put written"].append(openssl_put_written(certificate, scene.large, scene.place.directory))
        results["get cat"].append(_cat_out(scene, sshd, cat))
        results["put cat"].append(_cat_in(scene, sshd, cat, "/dev/null"))
        kept = scene.place.directory / "kept"
        scene.place.settle(2 * scene.large.size)
        results["put cat kept"].append(_cat_in(scene, sshd, cat, str(kept)))
        kept.unlink()
        # Next to what it is compared with: how fast a machine is may change within seconds.
        scene.place.settle(2 * scene.large.size)
        results["put openssl"].append(openssl_put(certificate, scene.large))
        _cycle(scene, server, results)


def _cycle(scene: Scene, server: TlsDaemon, results: Result) -> None:
    scene.place.settle(2 * scene.large.size)
    # Not before: a connection that has been idle may be probed by its congestion control meanwhile.
    session = server.opened()
    for name, act in (("put", session.put), ("get", session.get)):
        cpu_before, before = cpu_seconds(server.pid), time.perf_counter()
        act(scene.large)
        results[name].append(scene.large.size / 1e6 / (time.perf_counter() - before))
        results[f"{name} cpu"].append((cpu_seconds(server.pid) - cpu_before) / (scene.large.size / 1e9))
    session.remove(scene.large.key)
    session.end()


def _cat_out(scene: Scene, sshd: Sshd, cat: Cat) -> float:
    source = scene.place.directory / "large"
    return _ssh(scene, sshd.command_argv(cat, f"cat '{source}'"), subprocess.DEVNULL, subprocess.DEVNULL)


def _cat_in(scene: Scene, sshd: Sshd, cat: Cat, target: str) -> float:
    with open(scene.place.directory / "large", "rb") as source:
        return _ssh(scene, sshd.command_argv(cat, f"cat >'{target}'"), source.fileno(), subprocess.DEVNULL)


def _ssh(scene: Scene, argv: Sequence[str], stdin: int, stdout: int) -> float:
    before = time.perf_counter()
    process = scene.place.processes.start(argv, scene.place.environment, stdin, stdout, scene.place.errors)
    if scene.place.processes.reap(process, scene.plan.section_seconds):
        raise AssertionError(f"{argv!r} failed")
    return scene.large.size / 1e6 / (time.perf_counter() - before)


def _large_rows(scene: Scene, results: Result) -> Iterator[Row]:
    mib = scene.plan.large_bytes >> 20
    most = Goal("ratio", least=0.7)
    gets, puts = results["get"], results["put"]
    yield Row("tls.get", f"TLS: GET of {mib} MiB", "MB/s", gets, results["get openssl"], _OPENSSL, most)
    yield Row("tls.put", f"TLS: PUT of {mib} MiB", "MB/s", puts, results["put openssl"], _OPENSSL, most)
    yield Row("tls.put.written", "TLS: PUT, against", "MB/s", puts, results["put written"], _WRITTEN)
    yield Row("tls.get.ssh", "TLS: GET, against", "MB/s", gets, results["get cat"], _CAT, _NOT_SLOWER)
    dropped, kept = results["put cat"], results["put cat kept"]
    # Without a goal: it keeps nothing, and has one process less to share the processors with.
    yield Row("tls.put.ssh", "TLS: PUT, against", "MB/s", puts, dropped, f"{_CAT} >/dev/null")
    yield Row("tls.put.ssh.kept", "TLS: PUT, against", "MB/s", puts, kept, f"{_CAT} >file", _NOT_SLOWER)
    yield Row("tls.get.cpu", "TLS: CPU of GET", "s/GB", results["get cpu"])
    yield Row("tls.put.cpu", "TLS: CPU of PUT", "s/GB", results["put cpu"])


# --- small objects -------------------------------------------------------------


def _small(scene: Scene, server: TlsDaemon, sshd: Sshd, results: Result) -> None:
    for _ in scene.rounds(scene.plan.tiny_rounds):
        ours = server.opened()
        _small_cycle(scene, ours, results, "")
        ours.end()
        theirs = Session(scene.place, sshd.master_argv(scene.theirs))
        theirs.greet()
        theirs.present(scene.seeds[0].key)
        _small_cycle(scene, theirs, results, " ssh")
        theirs.end()


def _small_cycle(scene: Scene, session: TlsSession | Session, results: Result, side: str) -> None:
    acts: tuple[tuple[str, Callable[[Content], object]], ...] = (
        ("tiny put", session.put),
        ("tiny get", session.get),
    )
    for name, act in acts:
        before = time.perf_counter()
        for content in scene.files:
            act(content)
        results[name + side].append(len(scene.files) / (time.perf_counter() - before))
    for content in scene.files:
        session.remove(content.key)


def _small_rows(scene: Scene, results: Result) -> Iterator[Row]:
    what = f"{len(scene.files)} files of {scene.files[0].size} bytes"
    for verb in ("put", "get"):
        ours, theirs = results[f"tiny {verb}"], results[f"tiny {verb} ssh"]
        title = f"TLS: {verb.upper()} of {what}"
        yield Row(f"tls.tiny.{verb}", title, "1/s", ours, theirs, f"git-annex-shell {_SHELL}", _NOT_SLOWER)


# --- sessions that do nothing --------------------------------------------------


def _idle(scene: Scene, server: TlsDaemon) -> Iterator[Row]:
    server.opened().end()
    time.sleep(SETTLE_SECONDS)
    before = memory(server.pid, "Rss")
    sessions: list[TlsSession] = []
    starts: list[float] = []
    for count in scene.plan.idle_sessions:
        while len(sessions) < count:
            start = time.perf_counter()
            sessions.append(server.opened())
            starts.append((time.perf_counter() - start) * 1e3)
        time.sleep(SETTLE_SECONDS)
        goal = Goal("value", most=MOST_IDLE_KB) if count == max(scene.plan.idle_sessions) else None
        grown = [(memory(server.pid, "Rss") - before) / count]
        title = f"TLS: {count} idle sessions: RSS added to the daemon, each"
        yield Row(f"tls.memory.{count}", title, "kB", grown, goal=goal)
    yield Row("tls.start", "TLS: session start, with its handshake", "ms", starts)
    for session in sessions:
        session.end()
