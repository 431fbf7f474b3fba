"""What git config says of a gateway."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.configured import DEFAULT_JOBS, LOCAL_COST, REMOTE_COST, Configured, is_path

CLUSTER = b"ac6a1a90-6a36-8f7e-a6c4-4b5c8e8a0001"
CONFIG = {
    b"annex.cluster.main": CLUSTER,
    b"annex.jobs": b"3",
    b"remote.n1.url": b"/srv/n1",
    b"remote.n1.annex-uuid": b"u1",
    b"remote.n1.annex-cluster-node": b"main other",
    b"remote.n.2.url": b"ssh://host/srv/n2",
    b"remote.n.2.annex-uuid": b"u2",
    b"remote.n.2.annex-proxy": b"true",
    b"remote.n.2.annex-shell": b"/opt/annexd-shell",
    b"remote.n.2.annex-ssh-options": b"-p 22 -o 'User=a b'",
    b"remote.peer.url": b"host:srv/peer",
    b"remote.peer.annex-uuid": b"u3",
    b"remote.peer.annex-cluster-gateway": CLUSTER + b" " + CLUSTER[::-1],
    b"remote.peer.annex-cost": b"150.5",
    b"remote.plain.url": b"/srv/plain",
    b"remote.plain.annex-ignore": b"true",
}


class ConfiguredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.configured = Configured.of(CONFIG.items())

    def test_remotes_by_cost(self) -> None:
        found = [(remote.name, remote.uuid, remote.cost) for remote in self.configured.remotes]
        self.assertEqual(
            found, [("n1", b"u1", LOCAL_COST), ("peer", b"u3", 150.5), ("n.2", b"u2", REMOTE_COST)]
        )

    def test_what_is_proxied(self) -> None:
        self.assertEqual([remote.name for remote in self.configured.remotes if remote.proxied], ["n1", "n.2"])
        self.assertTrue(self.configured.is_gateway)
        self.assertFalse(Configured.of([(b"remote.x.annex-uuid", b"u"), (b"remote.x.url", b"/x")]).is_gateway)

    def test_members_of_a_cluster(self) -> None:
        self.assertEqual([remote.name for remote in self.configured.nodes_of(CLUSTER)], ["n1"])
        self.assertEqual([remote.name for remote in self.configured.gateways_of(CLUSTER)], ["peer"])
        self.assertEqual(self.configured.nodes_of(b"ac-no-such"), ())

    def test_how_a_remote_is_reached(self) -> None:
        remote = next(remote for remote in self.configured.remotes if remote.name == "n.2")
        self.assertEqual(remote.shell, b"/opt/annexd-shell")
        self.assertEqual(remote.ssh_options, (b"-p", b"22", b"-o", b"User=a b"))

    def test_where_it_is(self) -> None:
        """As git has it, with all its values; a path stands for what is cheap."""
        instead = [(b"url./mnt/.insteadof", b"host:"), (b"url./mnt/.insteadof", b"other:")]
        configured = Configured.of([*CONFIG.items(), *instead, (b"url.w:.pushinsteadof", b"host:srv")])
        peer = next(remote for remote in configured.remotes if remote.name == "peer")
        self.assertEqual((peer.url, peer.push_url), (b"/mnt/srv/peer", b"w:/peer"))
        self.assertEqual(peer.written, (b"host:srv/peer", b""))
        self.assertTrue(peer.is_path)

    def test_jobs(self) -> None:
        self.assertEqual(self.configured.jobs, 3)
        self.assertEqual(Configured.of([]).jobs, DEFAULT_JOBS)
        self.assertEqual(Configured.of([(b"annex.jobs", b"0")]).jobs, 1)
        self.assertGreaterEqual(Configured.of([(b"annex.jobs", b"cpus")]).jobs, 1)
        self.assertEqual(Configured.of([(b"annex.jobs", b"many")]).jobs, DEFAULT_JOBS)

    def test_paths(self) -> None:
        for url in (b"/srv/x", b"../x", b"x", b"./a:b", b"file:///srv/x"):
            self.assertTrue(is_path(url), url)
        for url in (b"", b"host:x", b"ssh://h/x", b"p2p-annex::annexd:h:1", b"tor-annex::a:1", b"annex::x"):
            self.assertFalse(is_path(url), url)
