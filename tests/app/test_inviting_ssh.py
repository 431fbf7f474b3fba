"""`annexd invite --tor-ssh`, as typed."""

from __future__ import annotations

import os
from pathlib import Path

from annexd.app.authorized_keys import parse_line
from annexd.app.inviting_ssh import key_line
from annexd.errors import Refused
from tests.app.test_cli import Typed
from tests.support.repositories import make_repository
from tests.support.ssh_keys import ed25519_key


class Inviting(Typed):
    def setUp(self) -> None:
        super().setUp()
        self.top = Path(os.path.realpath(self.mktemp()))
        self.git_dir = os.fsdecode(make_repository(str(self.top / "gw")))
        self.patch(os, "environ", {"ANNEXD_SOCKET": self.socket, "PATH": os.environ["PATH"]})
        self.keys = self.top / "keys"
        self.users = self.top / "users"
        self.users.mkdir()
        self.key = self.top / "id.pub"
        self.key.write_bytes(ed25519_key().public().toString("openssh", comment=b"me") + b"\n")
        self.write(f'authorized-keys = "{self.keys}"')

    def write(self, users: str, tor: str = "ssh = true") -> None:
        (self.top / "annexd.toml").write_text(
            f'[daemon]\nstate-directory = "{self.top}/state"\n[[repository]]\npath = "{self.git_dir}"\n'
            f'[listen.tor]\ncontrol = "/run/tor/control"\n{tor}\n'
            f'[listen.ssh]\naddress = "127.0.0.1:1"\n{users}\n'
        )

    def invite(self, *options: str, code: int = 0, name: str = "bob") -> str:
        self.out.truncate(0)
        self.out.seek(0)
        argv = ("invite", name, "--tor-ssh", "--repo", self.git_dir, *options)
        config = ("--config", str(self.top / "annexd.toml"))
        self.assertEqual(code, self.run_annexd(*argv, *config), self.err.getvalue())
        return self.out.getvalue()

    def test_what_is_printed(self) -> None:
        """The same each time: the onion's key and the host's are made with it."""
        said = self.invite()
        hostname = (self.top / "state" / "onion" / "hostname").read_text().strip()
        config, known, clone = said.split("\n\n")
        self.assertEqual(
            config.splitlines()[1:],
            [
                f"Host annexd-{hostname[:8]}",
                f"    HostName {hostname}",
                "    User bob",
                "    ProxyCommand nc -X 5 -x 127.0.0.1:9050 %h %p",
            ],
        )
        self.assertRegex(known.splitlines()[1], rf"^{hostname} ssh-ed25519 AAAA\S+$")
        self.assertEqual(clone, f"# Then: git clone annexd-{hostname[:8]}:{self.git_dir}\n")
        self.assertEqual(said, self.invite())
        self.assertFalse(self.keys.exists())
        self.assertIn(f"a key that is in {self.keys}", self.err.getvalue())

    def test_a_key(self) -> None:
        """Behind what is there, and once."""
        self.keys.write_bytes(b"# mine")
        self.invite("--key", str(self.key), "--mode", "append-only")
        first, line = self.keys.read_bytes().splitlines()
        entry = parse_line(line)
        self.assertEqual((first, entry.user, entry.limits), (b"# mine", "bob", {b"appendonly": b"1"}))
        self.invite("--key", str(self.key), code=1)
        self.assertIn("already", self.err.getvalue())
        self.assertEqual(len(self.keys.read_bytes().splitlines()), 2)

    def test_a_file_for_each_user(self) -> None:
        self.write(f'users = "{self.users}"')
        self.invite("--key", str(self.key))
        entry = parse_line((self.users / "bob.pub").read_bytes().strip())
        self.assertEqual((entry.user, entry.limits), ("bob", {b"readonly": b"1"}))
        self.invite(name="bob.pub", code=1)

    def test_until(self) -> None:
        key = b" ".join(self.key.read_bytes().split()[:2])
        entry = parse_line(key_line(key, "bob", "read-write", 3600, now=1_000_000.0).strip())
        self.assertEqual((entry.expires, entry.limits), (1_003_600.0, {}))
        self.assertRaises(Refused, key_line, key, 'b"', "read-write", None)

    def test_what_does_not_do(self) -> None:
        for options in (("--all-nodes",), ("--script",), ("--node", "x"), ("--key", "/nonexistent")):
            self.invite(*options, code=1)
        self.key.write_text("no key\n")
        self.invite("--key", str(self.key), code=1)
        self.write(f'users = "{self.users}"', tor="")
        self.invite(code=2)
        self.assertIn("no [listen.tor] with ssh = true", self.err.getvalue())
