"""[listen.tor]: what it may say."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.config import parse
from annexd.app.listen_tor import Tor, checked_path
from annexd.app.plan import left_for_a_start
from annexd.errors import ConfigError

ONION = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"
CLIENT = "MZXW6YTBOI" * 5 + "AA"


def tor_of(text: str) -> Tor:
    found = parse(f"[listen.tor]\n{text}\n", "f").listen.tor
    assert found is not None
    return found


class Good(SynchronousTestCase):
    def test_a_running_tor(self) -> None:
        self.assertEqual(tor_of('control = "/run/tor/control"'), Tor(control="/run/tor/control"))
        found = tor_of(
            f"""control = "[::1]:9051"
            password-file = "/etc/annexd/tor"
            socks = "/run/tor/socks"
            port = 41862
            socket = "/run/annexd-tor/s"
            clients = ["descriptor:x25519:{CLIENT}", "{CLIENT.lower()}"]
            proof-of-work = true"""
        )
        self.assertEqual(
            found,
            Tor(
                control="[::1]:9051",
                password_file="/etc/annexd/tor",
                socks="/run/tor/socks",
                port=41862,
                socket="/run/annexd-tor/s",
                clients=(CLIENT, CLIENT),
                proof_of_work=True,
            ),
        )

    def test_one_of_ours(self) -> None:
        found = tor_of('launch = "tor"\ntorrc = "/etc/annexd/torrc"\nself-check = "10m"')
        self.assertEqual(found, Tor(launch="tor", torrc="/etc/annexd/torrc", self_check=600))

    def test_somebody_else_s(self) -> None:
        found = tor_of(
            'hidden-service = "/var/lib/tor/x"\nsocket = "/s"\nport = 1\n'
            f'hostname = "{ONION}"\ncircuit-ids = true'
        )
        wanted = Tor(hidden_service="/var/lib/tor/x", socket="/s", port=1, hostname=ONION, circuit_ids=True)
        self.assertEqual(found, wanted)

    def test_ssh(self) -> None:
        """With a listener for it, which needs no address of its own then."""
        found = parse('[listen.tor]\nlaunch = "tor"\nssh = true\n[listen.ssh]\nusers = "/u"\n', "f").listen
        assert found.tor is not None and found.ssh is not None
        self.assertEqual((found.tor.ssh, found.ssh.address), (True, ()))
        there = tor_of(
            'hidden-service = "/h"\nsocket = "/s"\nport = 1\nssh = true\nssh-socket = "/t"\n'
            '[listen.ssh]\nusers = "/u"'
        )
        self.assertEqual(there.ssh_socket, "/t")

    def test_several(self) -> None:
        """Those of other tors beside an onion of annexd's own, which is the first whatever its place."""
        other = '[[listen.tor]]\nhidden-service = "/{0}"\nsocket = "/s{0}"\nport = 1\n'
        own = '[[listen.tor]]\nlaunch = "tor"\n'
        found = parse(other.format("a") + own + other.format("b"), "f").listen
        self.assertEqual(found.tor, Tor(launch="tor"))
        self.assertEqual([tor.hidden_service for tor in found.more_tor], ["/a", "/b"])
        for text, words in (
            (own + own, "f:1: listen.tor: of several, all but one must be with hidden-service"),
            (other.format("a") * 2, "f:1: listen.tor: each needs a socket of its own"),
            (own + "[[listen.tor]]\nport = 1\n", "f:3: listen.tor: one of control, launch"),
            (own + "[[listen.tor]]\nx = 1\n", "f:4: listen.tor.x: unknown key"),
        ):
            self.assertIn(words, str(self.assertRaises(ConfigError, parse, text, "f")))

    def test_changes_wait_for_a_start(self) -> None:
        former, latter = (
            parse(text, "f")
            for text in ('[listen.tor]\nlaunch = "tor"', '[listen.tor]\nlaunch = "tor"\nport = 1')
        )
        self.assertEqual(left_for_a_start(former, latter), ["listen.tor"])
        self.assertEqual(left_for_a_start(parse("", "f"), latter), ["listen.tor"])
        self.assertEqual(left_for_a_start(latter, latter), [])


class Bad(SynchronousTestCase):
    def assert_wrong(self, text: str, *words: str) -> None:
        """One sentence with all these words."""
        error = str(self.assertRaises(ConfigError, tor_of, text))
        self.assertEqual(error.count("\n"), 0, error)
        for word in words:
            self.assertIn(word, error)

    def test_which_tor(self) -> None:
        self.assert_wrong("", "one of control, launch and hidden-service is needed")
        self.assert_wrong('control = "/c"\nlaunch = "tor"', "one of control, launch and hidden-service")

    def test_what_does_not_go_together(self) -> None:
        for text, words in (
            ('launch = "tor"\npassword-file = "/p"', "password-file goes with control only"),
            ('launch = "tor"\nsocks = "/p"', "socks goes with control only"),
            ('control = "/c"\ntorrc = "/p"', "torrc goes with launch only"),
            (f'control = "/c"\nhostname = "{ONION}"', "hostname goes with hidden-service only"),
            ('control = "/c"\ncircuit-ids = true', "circuit-ids goes with hidden-service only"),
            ('hidden-service = "/h"\nport = 1', "hidden-service needs socket"),
            ('hidden-service = "/h"\nsocket = "/s"', "hidden-service needs port"),
            (
                'hidden-service = "/h"\nsocket = "/s"\nport = 1\nproof-of-work = true',
                "proof-of-work does not go with hidden-service",
            ),
            ('launch = "tor"\nssh = true', "ssh needs [listen.ssh]"),
            ('launch = "tor"\nssh-socket = "/s"', "ssh-socket goes with ssh = true only"),
            ('launch = "tor"\nssh = true\nport = 22', "ssh has the port 22"),
            ('hidden-service = "/h"\nsocket = "/s"\nport = 1\nssh = true', "ssh needs ssh-socket"),
            (
                f'launch = "tor"\nself-check = 60\nclients = ["{CLIENT}"]',
                "self-check does not go with clients",
            ),
        ):
            self.assert_wrong(text, words)

    def test_values(self) -> None:
        for text, words in (
            ('control = "9051"', "must be a path, or an address and a port"),
            ('control = "127.0.0.1:0"', "must be a path, or an address and a port"),
            ('control = "127.0.0.1:65536"', "must be a path, or an address and a port"),
            ('control = "1.2.3:9051"', "must be a path, or an address and a port"),
            ('control = "localhost:9051"', "must be a path, or an address and a port"),
            (f'control = "/{"x" * 107}"', "107 bytes"),
            ('launch = "tor"\nport = 0', "from 1 to 65535"),
            ('launch = "tor"\nsocket = "/a b"', "no path with spaces"),
            ('launch = "tor"\nself-check = 0', "more than 0"),
            ('launch = "tor"\nclients = ["x"]', "52 characters"),
            (f'launch = "tor"\nclients = ["{"1" * 52}"]', "base32"),
            ('hidden-service = "/h"\nhostname = "example.org"', "onion address"),
            ('launch = "tor"\naddress = "x"', "unknown key"),
        ):
            self.assert_wrong(text, words)

    def test_no_table(self) -> None:
        error = self.assertRaises(ConfigError, parse, "[listen]\ntor = 1", "f")
        self.assertIn("listen.tor must be a table", str(error))

    def test_paths(self) -> None:
        longest = "/" + "x" * 106
        self.assertEqual(checked_path(longest), longest)
        self.assertRaises(ValueError, checked_path, longest + "x")
        for character in " \t\n\"',\\":
            self.assertRaises(ValueError, checked_path, f"/a{character}b")
