"""What a repository proxies, by its git config and its git-annex branch together."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.exchange import Exchange
from annexd.app.hosting import Seat
from annexd.app.node_settings import NodeSettings
from annexd.app.nodes import Nodes
from annexd.app.proxying import Proxying
from annexd.errors import Refused, Unavailable
from annexd.flow.workers import InlineWorkers
from annexd.node import Health
from annexd.protocol.messages import Auth
from annexd.repo.git import Git
from annexd.repo.local import Repository
from annexd.router.directory import Directory
from annexd.router.places import Place, Served
from annexd.store import Caller
from tests.support.repositories import UUID, make_repository, open_repository
from tests.support.steady_disks import SteadyDisks
from tests.support.store_contract import CONTENT, get, key_of, put

N1, N2, N3 = (b"00000000-0000-4000-8000-00000000000%d" % number for number in (1, 2, 3))
CLUSTER = b"ac000000-0000-8000-8000-000000000001"
CALLER = Caller(b"client", "alice")
KEY = key_of(CONTENT)


class Gateway(SynchronousTestCase):
    """n1 and n2 are nodes of a cluster, n3 is proxied alone."""

    def setUp(self) -> None:
        self.top = os.path.realpath(self.mktemp())
        self.git_dir = make_repository(os.path.join(self.top, "gw"))
        for name, uuid in (("n1", N1), ("n2", N2), ("n3", N3)):
            make_repository(os.path.join(self.top, name), config={"annex.uuid": uuid.decode()})
        cluster = "annex-cluster-node = main"
        self.configure("n1", N1, cluster)
        self.configure("n2", N2, cluster)
        self.configure("n3", N3, "annex-proxy = true")
        self.append(f'[annex "cluster"]\n\tmain = {CLUSTER.decode()}\n')
        self.proxy([(N1, b"n1"), (N2, b"n2"), (N3, b"n3"), (CLUSTER, b"main")])
        self.clock = Clock()
        served = [Served(os.fsencode(self.top), nested=True)]
        self.directory = Directory(
            self.clock, InlineWorkers().disk, self.open, served, SteadyDisks(InlineWorkers().disk)
        )
        self.settings = NodeSettings()
        nodes = Nodes(self.clock, self.directory, lambda: self.settings, {"HOME": self.top})
        self.proxying = Proxying(self.clock, self.directory, nodes, lambda: self.settings, {})

    def append(self, text: str) -> None:
        with open(os.path.join(self.git_dir, b"config"), "a") as file:
            file.write(text)

    def configure(self, name: str, uuid: bytes, setting: str, url: str | None = None) -> None:
        lines = (f"url = {url or '../' + name}", f"annex-uuid = {uuid.decode()}", setting)
        self.append(f'[remote "{name}"]\n' + "".join(f"\t{line}\n" for line in lines))

    def commit(self, files: dict[bytes, bytes]) -> None:
        git = Git(self.git_dir)
        head = git.branch_head()
        git.move_branch(git.write_commit(files, b"m", head).name, head)

    def proxy(self, entries: list[tuple[bytes, bytes]]) -> None:
        line = b"100s %b %b\n" % (UUID, b" ".join(b"%b:%b" % entry for entry in entries))
        cluster = b"100s %b %b %b\n" % (CLUSTER, N1, N2)
        self.commit({b"proxy.log": line, b"cluster.log": cluster})

    async def open(self, place: Place) -> Repository:
        return await open_repository(place.git_dir, clock=self.clock)

    def does(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def repository(self) -> Repository:
        found: Repository = self.does(self.directory.find(self.git_dir)).repository
        return found

    def seat(self, uuid: bytes) -> Seat | None:
        found: Seat | None = self.does(self.proxying.seat(self.repository(), uuid, CALLER))
        return found

    def holders(self) -> set[bytes]:
        repository = self.repository()
        return set(self.does(repository.ledger.run(repository.ledger.branch.holders, KEY)))


class Seats(Gateway):
    def test_a_cluster(self) -> None:
        seat = self.seat(CLUSTER)
        assert seat is not None
        self.assertEqual((seat.store.uuid, seat.names), (CLUSTER, ("main", CLUSTER.decode())))
        outcome = self.does(put(seat.store, KEY, CONTENT))
        self.assertEqual((outcome.ok, set(outcome.also)), (True, {N1, N2}))
        self.assertEqual(self.holders(), {N1, N2})
        self.assertEqual(self.does(get(seat.store, KEY)), CONTENT)
        self.assertTrue(self.does(seat.store.remove(KEY)).ok)
        self.assertEqual(self.holders(), set())
        self.does(seat.store.close())

    def test_a_node(self) -> None:
        for uuid, name in ((N3, "n3"), (N1, "n1")):
            seat = self.seat(uuid)
            assert seat is not None
            self.assertEqual((seat.store.uuid, seat.names[0]), (uuid, name))
            self.assertTrue(self.does(put(seat.store, KEY, CONTENT)).ok)
            self.assertIn(uuid, self.holders())
            self.does(seat.store.close())

    def test_a_push_makes_no_names_that_rules_know(self) -> None:
        entries = [(N1, b"n1"), (N3, b"n3"), (N3, b"open"), (CLUSTER, b"open")]
        self.proxy(entries)
        found = {uuid: self.seat(uuid) for uuid in (N3, CLUSTER)}
        names = {uuid: seat.names for uuid, seat in found.items() if seat is not None}
        self.assertEqual(names, {N3: ("n3", N3.decode()), CLUSTER: ("main", CLUSTER.decode())})

    def test_what_is_behind_a_gateway_has_the_uuid_of_a_repository(self) -> None:
        """It becomes a part of a command there."""
        self.settings = NodeSettings(exchange=False)
        gateway, good, bad = (b"00000000-0000-4000-8000-00000000000%d" % n for n in (7, 8, 9))
        bad = b"x;id>/tmp/x;"
        self.configure("gw2", gateway, f"annex-cluster-gateway = {CLUSTER.decode()}", "ssh://host/path")
        ours = b"100s %b %b:n1 %b:main %b:gw2-good %b:gw2-bad\n" % (UUID, N1, CLUSTER, good, bad)
        theirs = b"100s %b %b:main %b:good %b:bad\n" % (gateway, CLUSTER, good, bad)
        self.commit({b"proxy.log": ours + theirs})
        self.assertIsNotNone(self.seat(good))
        self.assertIsNone(self.seat(bad))
        self.does(self.proxying.stop())

    def test_what_cannot_be_merged_keeps_nobody_out(self) -> None:
        path = os.path.join(self.git_dir, b"refs/heads/synced/git-annex")
        os.makedirs(os.path.dirname(path))
        with open(path, "w") as file:
            file.write("1234567890" * 4 + "\n")
        self.assertIsNotNone(self.seat(N3))

    def test_whom_nobody_knows(self) -> None:
        self.assertIsNone(self.seat(b"00000000-0000-4000-8000-000000000009"))
        self.assertIsNone(self.seat(b"ac000000-0000-8000-8000-000000000009"))

    def test_the_branch_alone_is_not_enough(self) -> None:
        stranger = b"00000000-0000-4000-8000-000000000004"
        self.proxy([(stranger, b"n4"), (N3, b"n3")])
        self.assertIsNone(self.seat(stranger))
        self.configure("n4", stranger, "annex-ignore = false")
        self.assertIsNone(self.seat(stranger))

    def test_git_config_alone_is_not_enough(self) -> None:
        self.proxy([(N1, b"n1"), (N3, b"another-name")])
        self.assertIsNotNone(self.seat(N1))
        self.assertIsNone(self.seat(N3))
        self.assertIsNone(self.seat(CLUSTER))

    def test_what_changes_is_noticed(self) -> None:
        self.assertIsNotNone(self.seat(N3))
        self.proxy([(N1, b"n1"), (CLUSTER, b"main")])
        self.clock.advance(2)
        self.assertIsNone(self.seat(N3))

    def test_a_remote_that_cannot_be_used_says_why(self) -> None:
        self.configure("web", N3, "annex-proxy = true", url="http://example.org/x")
        self.proxy([(N3, b"web")])
        seat = self.seat(N3)
        assert seat is not None
        failure = self.failureResultOf(Deferred.fromCoroutine(seat.store.present(KEY)), Unavailable)
        self.assertIn("web: remotes over HTTP", str(failure.value))

    def node_behind_tor(self) -> Any:
        self.configure("onion", N3, "annex-proxy = true", url="tor-annex::gw.x.onion:7001")
        self.proxy([(N3, b"onion")])
        estate = self.does(self.proxying.estate(self.repository()))
        [remote] = [remote for remote in estate.configured.remotes if remote.name == "onion"]
        return estate.node(remote, N3), estate, remote

    def give_token(self, host: str, token: str = "abc") -> None:
        creds = os.path.join(self.git_dir, b"annex", b"creds")
        os.makedirs(creds, exist_ok=True)
        with open(os.path.join(creds, host.replace(".", "%2E").encode()), "w") as file:
            file.write(token)

    def test_an_onion(self) -> None:
        """It needs a token, and gets its time."""
        node, _, _ = self.node_behind_tor()
        self.assertEqual((node.allowance.answer, node.allowance.progress), (65, 65))
        self.assertEqual((node.condition.health, node.is_local), (Health.UP, False))
        asking = Deferred.fromCoroutine(node.store(Caller(b"", "")).present(KEY))
        self.assertIn("no token for gw.x.onion:7001", str(self.failureResultOf(asking, Unavailable).value))
        for token in ("abc", "def"):
            self.give_token("gw.x.onion", token)
            self.assertEqual(self.does(node._link._dialer._get_auth()), Auth(UUID, token.encode()))
        node.close()

    def test_other_deadlines(self) -> None:
        """Of nodes that are there already."""
        onion, _, _ = self.node_behind_tor()
        self.configure("far", N1[:-1] + b"4", "annex-proxy = true", url="host:/x")
        self.clock.advance(2)
        estate = self.does(self.proxying.estate(self.repository()))
        [remote] = [remote for remote in estate.configured.remotes if remote.name == "far"]
        far: Any = estate.node(remote, remote.uuid)
        self.settings = NodeSettings(answer=3, stall=4, tor_answer=5, connections=2)
        self.proxying.reload()
        self.assertEqual((far._link.patience.answer, far._link.patience.stall), (3, 4))
        self.assertEqual((far.allowance, far._link._most), (None, 2))
        self.assertEqual((onion._link.patience.answer, onion.allowance.answer), (5, 65))

    def test_behind_an_onion(self) -> None:
        """By an address of its own, as soon as there is one."""
        self.give_token("gw.x.onion")
        _, estate, remote = self.node_behind_tor()
        self.assertIn("an address and a token of its own", estate.node(remote, CLUSTER).condition.reason)
        self.give_token("cl.x.onion")
        self.configure("c", CLUSTER, "annex-cost = 200", url="tor-annex::cl.x.onion:7001")
        self.clock.advance(2)
        self.does(self.proxying.estate(self.repository()))
        node = estate.node(remote, CLUSTER)
        self.assertEqual((node.uuid, node.name, node.condition.health), (CLUSTER, "onion", Health.UP))
        self.assertIs(estate.node(remote, CLUSTER), node)

    def test_a_node_that_may_only_be_read(self) -> None:
        self.append('[remote "n2"]\n\tannex-readonly = true\n')
        seat = self.seat(CLUSTER)
        assert seat is not None
        self.assertEqual(self.does(put(seat.store, KEY, CONTENT)).also, (N1,))
        alone = self.seat(N2)
        assert alone is not None
        failure = self.failureResultOf(Deferred.fromCoroutine(alone.store.write(KEY, b"")), Refused)
        self.assertIn("annex-readonly is set", str(failure.value))
        self.assertIs(self.does(alone.store.present(KEY)), False)


class Changing(Gateway):
    """The git config changes while there are sessions."""

    def rewrite(self, old: str, new: str) -> None:
        path = os.path.join(self.git_dir, b"config")
        with open(path) as file:
            text = file.read()
        self.assertIn(old, text)
        with open(path, "w") as file:
            file.write(text.replace(old, new))

    def test_a_session_while_it_is_read(self) -> None:
        seat = self.seat(CLUSTER)
        assert seat is not None
        self.rewrite('[remote "n2"]', '[remote "another"]')
        repository = self.repository()
        estate = self.proxying.estates[self.git_dir]
        seen: list[set[bytes]] = []

        async def take_in(most_slices: int) -> bool:
            seen.append({uuid for way in estate.ways(CLUSTER, ()) for uuid in way.reaches})
            return False

        self.patch(repository, "take_in", take_in)
        self.clock.advance(2)
        self.does(self.proxying.estate(repository))
        self.assertEqual(seen, [{N1, N2}])
        self.assertEqual([way.node.name for way in estate.ways(CLUSTER, ())], ["n1"])

    def test_exchanges_end_when_they_are_switched_off(self) -> None:
        begun: list[Deferred[None]] = []

        async def start(exchange: Exchange) -> None:
            begun.append(Deferred())
            await begun[-1]

        self.patch(Exchange, "_run", start)
        self.configure("n4", N3, f"annex-cluster-gateway = {CLUSTER.decode()}")
        self.seat(N3)
        self.proxying.reload()
        self.assertFalse(begun[0].called)
        self.settings = NodeSettings(exchange=False)
        self.proxying.reload()
        self.assertTrue(begun[0].called)
        self.seat(N3)
        self.assertEqual(len(begun), 1)

    def test_what_is_no_gateway_is_not_kept(self) -> None:
        self.assertIsNotNone(self.seat(N3))
        self.assertIn(self.git_dir, self.proxying.estates)
        self.rewrite("annex-proxy", "annex-noproxy")
        self.rewrite("annex-cluster-node", "annex-no-cluster-node")
        self.rewrite("main = ac", "main = ")
        self.rewrite("\tmain", "#")
        self.assertIsNone(self.seat(N3))
        self.assertNotIn(self.git_dir, self.proxying.estates)


class Preferred(Gateway):
    """Which nodes of the cluster get a key."""

    def placed(self, content: bytes, file: bytes = b"") -> set[bytes]:
        seat = self.seat(CLUSTER)
        assert seat is not None
        key = key_of(content)
        writer = self.does(seat.store.write(key, file))
        writer.announce(len(content))
        self.does(writer.sink.write(content))
        outcome = self.does(writer.commit(True))
        self.does(writer.close())
        self.does(seat.store.close())
        return set(outcome.also)

    def wanted(self, first: bytes, second: bytes, **more: bytes) -> None:
        lines = (b"%b %b timestamp=1s\n" % (N1, first), b"%b %b timestamp=1s\n" % (N2, second))
        named = {name.replace("_", "-").encode() + b".log": text for name, text in more.items()}
        self.commit({b"preferred-content.log": b"".join(lines), **named})

    def test_by_file(self) -> None:
        self.wanted(b"include=*.dat", b"include=*.txt or include=*.dat")
        self.assertEqual(self.placed(b"1", b"x.dat"), {N1, N2})
        self.assertEqual(self.placed(b"2", b"x.txt"), {N2})
        self.assertEqual(self.placed(b"3", b"x.else"), {N1, N2})

    def test_by_metadata(self) -> None:
        self.wanted(b"metadata=tag=raw", b"not metadata=tag=raw")
        repository = self.repository()
        log = repository.parts.layout.log_name(key_of(b"1")) + b".met"
        self.commit({log: b"1s tag +raw\n"})
        self.assertEqual(self.placed(b"1"), {N1})
        self.assertEqual(self.placed(b"2"), {N2})

    def test_by_room(self) -> None:
        """What is recorded here is counted at once."""
        groups = b"%b g timestamp=1s\n%b g timestamp=1s\n" % (N1, N2)
        sizes = b"1s %b 100\n1s %b 50\n" % (N1, N2)
        expression = b"sizebalanced=g:1"
        self.wanted(expression, expression, group=groups, maxsize=sizes)
        first = self.placed(b"a" * 40)
        self.assertEqual(first | self.placed(b"b" * 30), {N1, N2})
        self.assertEqual(self.placed(b"c" * 45), {N1})
        seat = self.seat(CLUSTER)
        assert seat is not None
        failure = self.failureResultOf(
            Deferred.fromCoroutine(seat.store.write(key_of(b"d" * 30), b"")), Refused
        )
        self.assertIn("no room by annex maxsize on n1, n2", str(failure.value))

    def test_what_was_there_before_is_counted(self) -> None:
        groups = b"%b g timestamp=1s\n%b g timestamp=1s\n" % (N1, N2)
        sizes = b"1s %b 100\n1s %b 100\n" % (N1, N2)
        log = self.repository().parts.layout.log_name(key_of(b"x" * 90))
        self.commit({log: b"1s 1 %b\n" % N1})
        self.wanted(b"sizebalanced=g:1", b"sizebalanced=g:1", group=groups, maxsize=sizes)
        self.assertEqual(self.placed(b"a" * 40), {N2})
