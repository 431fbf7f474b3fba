"""What a tor of annexd's own reads."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import ConfigError
from annexd.transports.onion_torrc import OwnService


class Services(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name

    def service(self, *clients: str, include: str | None = None, proof_of_work: bool = False) -> OwnService:
        return OwnService(self.directory, "/state/tor", "/s", 7001, include, clients, proof_of_work)

    def test_torrc(self) -> None:
        lines = self.service(include="/more", proof_of_work=True).torrc().splitlines()
        self.assertEqual(lines[0], "%include /more")
        place = lines.index(f"HiddenServiceDir {self.directory}")
        self.assertEqual(
            lines[place + 1 :],
            [
                "HiddenServicePort 7001 unix:/s",
                "HiddenServiceExportCircuitID haproxy",
                "HiddenServicePoWDefensesEnabled 1",
            ],
        )
        self.assertIn("DataDirectory /state/tor/data", lines)

    def test_more_ports(self) -> None:
        service = OwnService(self.directory, "/state/tor", "/s", 7001, more=((22, "/ssh"),))
        lines = service.torrc().splitlines()
        place = lines.index(f"HiddenServiceDir {self.directory}")
        ports = ["HiddenServicePort 7001 unix:/s", "HiddenServicePort 22 unix:/ssh"]
        self.assertEqual(lines[place + 1 : place + 3], ports)

    def test_little(self) -> None:
        torrc = self.service().torrc()
        for word in ("%include", "PoW"):
            self.assertNotIn(word, torrc)

    def test_clients(self) -> None:
        """Those of others stay, and who is not one any more goes."""
        place = os.path.join(self.directory, "authorized_clients")
        self.service("A" * 52, "B" * 52).authorize()
        self.assertEqual(sorted(os.listdir(place)), ["annexd-0.auth", "annexd-1.auth"])
        with open(os.path.join(place, "annexd-1.auth")) as file:
            self.assertEqual(file.read(), f"descriptor:x25519:{'B' * 52}\n")
        with open(os.path.join(place, "mine.auth"), "w") as file:
            file.write("x")
        self.service("C" * 52).authorize()
        self.assertEqual(sorted(os.listdir(place)), ["annexd-0.auth", "mine.auth"])
        self.service().authorize()
        self.assertEqual(os.listdir(place), ["mine.auth"])

    def test_no_place(self) -> None:
        with open(os.path.join(self.directory, "authorized_clients"), "w"):
            pass
        self.assertRaises(ConfigError, self.service().authorize)
