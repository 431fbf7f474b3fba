"""What git config says about where to listen."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.client import own_address
from annexd.client.git_settings import values
from annexd.client.program import Problem


class SettingsTests(SynchronousTestCase):
    def test_where_to_listen(self) -> None:
        for text, place in {
            "7001": ("", 7001),
            "*:7001": ("", 7001),
            "localhost:7001": ("localhost", 7001),
            "::1:7001": ("::1", 7001),
            "[::1]:7001": ("::1", 7001),
            "0.0.0.0:7001": ("0.0.0.0", 7001),
        }.items():
            self.assertEqual(own_address.listening(text), place)
        for text in ("", "x", ":7001", "host:", "host:0", "host:65536", "host:\u0661"):
            self.assertRaises(Problem, own_address.listening, text)

    def test_values(self) -> None:
        said = b"annexd.listen\n7001\0annexd.clientcertificate\n/a\nb\0annexd.listen\n7002\0annexd.x\0"
        self.assertEqual(values(said), {"listen": "7002", "clientcertificate": "/a\nb", "x": "", "": ""})
