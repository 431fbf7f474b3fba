"""`annexd invite` for what is behind a repository, as typed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from annexd.app.link_script import Linked, link_script
from annexd.app.offers import Offer
from annexd.app.token_file import TokenFile, digest_of
from annexd.repo.git import Git
from tests.app.test_cli import Typed
from tests.app.test_proxying import CLUSTER, N1, N2, N3
from tests.support.repositories import UUID, make_repository

_WAY = ("--address", "h:1,sha256=" + "0" * 64)


class Behind(Typed):
    """n1 and n2 are in the cluster main, n3 is proxied alone; n4 is in proxy.log only."""

    def setUp(self) -> None:
        super().setUp()
        self.top = os.path.realpath(self.mktemp())
        self.git_dir = make_repository(os.path.join(self.top, "gw"))
        self.patch(os, "environ", {"ANNEXD_SOCKET": self.socket, "PATH": os.environ["PATH"]})
        remotes = ((b"n1", N1, "annex-cluster-node = main"), (b"n2", N2, "annex-cluster-node = main"))
        with open(os.path.join(self.git_dir, b"config"), "a") as file:
            for name, uuid, setting in (*remotes, (b"n3", N3, "annex-proxy = true")):
                lines = f"url = /{name.decode()}\n\tannex-uuid = {uuid.decode()}\n\t{setting}\n"
                file.write(f'[remote "{name.decode()}"]\n\t{lines}')
            file.write(f'[annex "cluster"]\n\tmain = {CLUSTER.decode()}\n')
        listed = [(N1, b"n1"), (N2, b"n2"), (N3, b"n3"), (b"4" * 36, b"n4"), (CLUSTER, b"main")]
        line = b" ".join(b"%b:%b" % entry for entry in listed)
        git = Git(self.git_dir)
        head = git.branch_head()
        files = {
            b"proxy.log": b"100s %b %b\n" % (UUID, line),
            b"cluster.log": b"100s %b %b %b\n" % (CLUSTER, N1, N2),
        }
        git.move_branch(git.write_commit(files, b"m", head).name, head)
        self.config = os.path.join(self.top, "annexd.toml")
        self.write("")

    def write(self, more: str) -> None:
        path = os.fsdecode(self.git_dir)
        state = os.path.join(self.top, "state")
        with open(self.config, "w") as file:
            file.write(f'[daemon]\nstate-directory = "{state}"\n[[repository]]\npath = "{path}"\n{more}')
        self.tokens = TokenFile(state)

    def annexd(self, *argv: str, code: int = 0) -> str:
        self.out.truncate(0)
        self.out.seek(0)
        self.assertEqual(code, self.run_annexd(*argv, "--config", self.config), self.err.getvalue())
        return self.out.getvalue()

    def invite(self, *options: str, code: int = 0) -> list[str]:
        where = ("--repo", os.fsdecode(self.git_dir), *_WAY)
        return self.annexd("invite", "bob", *where, *options, code=code).splitlines()

    def nodes(self) -> set[bytes | None]:
        return {token.node for token in self.tokens.read() if token.revoked is None}

    def test_one(self) -> None:
        """By its name or UUID."""
        for wanted, label in (("n1", "n1"), (N3.decode(), "n3"), ("main", "main")):
            [line] = self.invite("--node", wanted)
            found = re.fullmatch(rf"p2p-annex::annexd:h:1,sha256=0+,label={label}-\w{{6}}:(\w+)", line)
            assert found is not None, line
            [token] = [t for t in self.tokens.read() if t.digest == digest_of(found[1].encode())]
            self.assertIn(token.node, (N1, N3, CLUSTER))
        self.invite("--node", "n9", code=1)
        self.assertIn("offers no n9 behind it, but main, n1", self.err.getvalue())
        self.invite("--node", "n4", code=1)
        self.invite("--node", "n2", "--all-nodes", code=1)
        self.assertEqual(self.nodes(), {N1, N3, CLUSTER})

    def test_all(self) -> None:
        """Clusters come first; what there is a token for already is left out."""
        labels = [re.split("label=|-", line)[-2] for line in self.invite("--all-nodes")]
        self.assertEqual(labels, ["gw", "main", "n1", "n2", "n3"])
        self.assertEqual(self.nodes(), {None, CLUSTER, N1, N2, N3})
        self.assertEqual([], self.invite("--all-nodes", code=1))
        self.assertIn("bob has tokens for all of it", self.err.getvalue())
        self.annexd("token", "revoke", "bob", "--node", "n3", "--repo", os.fsdecode(self.git_dir))
        self.assertEqual(self.nodes(), {None, CLUSTER, N1, N2})
        self.assertEqual(1, len(self.invite("--all-nodes")))

    def test_what_rules_keep_from_him(self) -> None:
        self.write(
            '[[access]]\nusers = ["token:*"]\nnodes = ["n1", "main"]\nrights = "none"\n'
            '[[access]]\nusers = ["*"]\nrights = "read-write"\n'
        )
        self.invite("--all-nodes")
        self.assertEqual(self.nodes(), {None, N2, N3})

    def test_an_address_for_each_token(self) -> None:
        lines = [*self.invite("--all-nodes")]
        where = ("--repo", os.fsdecode(self.git_dir), *_WAY, "--all-nodes")
        lines += self.annexd("invite", "carol", *where).splitlines()
        addresses = [line.rpartition(":")[0] for line in lines if "label=gw-" not in line]
        self.assertEqual(len(set(addresses)), 8)

    def test_list(self) -> None:
        self.invite("--node", "n1")
        self.assertIn(f"{N1.decode()} behind ", self.annexd("token", "list"))

    def test_script(self) -> None:
        """Run by a shell with a git-annex that only notes what it is told; existing remotes stay."""
        script = "\n".join(self.invite("--all-nodes", "--script"))
        work = Path(self.top, "work")
        tools = Path(self.top, "tools")
        tools.mkdir()
        (tools / "git-annex").write_text(
            '#!/bin/sh\nread -r address\ngit config "remote.$4.url" "${address%:*}"\n'
        )
        (tools / "git-annex").chmod(0o755)
        subprocess.run(["git", "init", "-q", work], check=True)
        for _ in range(2):
            done = subprocess.run(
                ["sh", "-s", "far"],
                input=script,
                text=True,
                capture_output=True,
                cwd=work,
                env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": self.top},
                timeout=20,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), script)
        self.assertIn("far-n1 is there already", done.stdout)
        said = subprocess.run(
            ["git", "config", "--list"], cwd=work, capture_output=True, text=True, check=True
        )
        settings = dict(line.split("=", 1) for line in said.stdout.splitlines())
        self.assertTrue(settings["remote.far.url"].startswith("p2p-annex::annexd:h:1"))
        self.assertNotIn("remote.far.annex-cost", settings)
        for name, cost, sync in (
            ("main", "200.0", None),
            ("n1", "200.1", "false"),
            ("n2", "200.1", "false"),
            ("n3", "200.0", None),
        ):
            found = settings[f"remote.far-{name}.annex-cost"], settings.get(f"remote.far-{name}.annex-sync")
            self.assertEqual(found, (cost, sync), name)

    def test_names_are_only_names(self) -> None:
        links = [Linked("tor-annex::x:1:y", Offer(N1, ("n'; touch seen; $(touch seen)",)))]
        script = link_script(b"/srv/\n touch seen", "token:bob", links)
        work = Path(self.top, "work")
        subprocess.run(["git", "init", "-q", work], check=True)
        subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, cwd=work, timeout=20)
        self.assertEqual([path.name for path in work.iterdir()], [".git"])
