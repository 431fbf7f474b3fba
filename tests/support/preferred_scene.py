"""
A repository in which other repositories, that exist by name only, want all
kinds of things; and random expressions for them to want.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from annexd.protocol.keys import Key
from annexd.router.knowledge import LOGS, Knowledge
from annexd.router.ports import Wish
from annexd.router.preferred import Judge, Question
from tests.support.annex import Machine
from tests.support.processes import run

UUIDS = tuple(b"%d1111111-2222-4333-8444-55555555555%d" % (number, number) for number in range(1, 9))
CLUSTER = b"ac111111-2222-8333-8444-555555555555"
GROUPS = ("g", "h", "client", "archive", "transfer", "backup", "smallarchive", "manual", "public", "unwanted")
GROUPS += ("incrementalbackup", "source")
FIELDS = ("tag", "pages", "Author")
VALUES = ("done", "Smith", "12", "100", "9.5", "two words", "1e1", "")

_DIRECTORIES = ("", "archive/", "x/archive/", "public/", "x/public/y/", "a/b/", "pub/", "ä/")
_NAMES = ("one.dat", "two.TXT", "three", ".hidden", "g[1].dat", "sp ace.mp3", "x<y", "dot.tar.gz", "ünï.txt")
_BACKENDS = (
    ("SHA256E", hashlib.sha256, True),
    ("SHA512", hashlib.sha512, True),
    ("SHA1E", hashlib.sha1, True),
    ("MD5", hashlib.md5, True),
    ("WORM", hashlib.md5, True),
    ("URL", hashlib.md5, False),
    ("SHA3_256", hashlib.sha3_256, True),
    ("OTHER", hashlib.md5, True),
    ("BLAKE2B256E", hashlib.sha256, True),
    ("SKEIN512", hashlib.sha512, True),
)


class PreferredScene:
    """``questions``: by file name, what is known of its key."""

    def __init__(self, directory: Path, seed: int, files: int = 150) -> None:
        self._machine = Machine(directory)
        self._repo = self._machine.new("here")
        self._random = random.Random(seed)
        self.questions = dict(self._files(files))
        self._log_presence()
        self._log_metadata()
        self._commit()

    @property
    def sizes(self) -> dict[bytes, int]:
        held = ((uuid, q.key.size or 0) for q in self.questions.values() for uuid in q.holders)
        sizes = dict.fromkeys(UUIDS, 0)
        for uuid, size in held:
            sizes[uuid] += size
        return sizes

    def set_logs(self, texts: Mapping[bytes, bytes]) -> Knowledge:
        """What git-annex reads from now on."""
        journal = self._repo / ".git" / "annex" / "journal"
        journal.mkdir(exist_ok=True)
        for name in LOGS:
            if name not in (b"uuid.log", b"remote.log") or name in texts:
                (journal / name.decode()).write_bytes(texts.get(name, b""))
        return Knowledge.from_logs(texts)

    def wanted(self, uuid: bytes) -> set[bytes]:
        """The files that git-annex says a repository wants."""
        said = run(
            "git-annex",
            "find",
            "--print0",
            b"--want-get-by=" + uuid,
            cwd=self._repo,
            env=self._machine.env,
            seconds=20,
        )
        return set(said.split(b"\0")) - {b""}

    def differences(self, texts: Mapping[bytes, bytes]) -> Iterator[str]:
        """Where git-annex and `Judge` disagree, and whether each says that it is wanted."""
        knowledge = self.set_logs(texts)
        judge = Judge(knowledge, self.sizes)
        for uuid in UUIDS:
            expressions = knowledge.preferred.get(uuid), knowledge.required.get(uuid)
            if not any(expressions):
                continue  # What is not configured is not wanted here, and wanted when git-annex sends it.
            theirs = self.wanted(uuid)
            for file, question in self.questions.items():
                ours = judge.wish(uuid, question) is Wish.WANTED
                if ours != (file in theirs):
                    yield f"{expressions} of {uuid!r}: git-annex {file in theirs}, here {ours}: {question}"

    def _files(self, count: int) -> Iterator[tuple[bytes, Question]]:
        for number in range(count):
            directory = self._random.choice(_DIRECTORIES)
            file = f"{directory}{number}{self._random.choice(_NAMES)}".encode()
            holders = frozenset(self._random.sample(UUIDS, self._random.choice((0, 1, 1, 2, 3, 5, 8))))
            yield file, Question(self._key(number), file, holders, self._metadata())

    def _key(self, number: int) -> Key:
        backend, digest, sized = self._random.choice(_BACKENDS)
        size = f"-s{self._random.choice((0, 1, 999, 1000, 1024, 10**6, 5 * 10**6, 10**9))}" if sized else ""
        extension = ".dat" if backend.endswith("E") else ""
        name = digest(b"%d" % number).hexdigest()
        return Key.parse(f"{backend}{size}--{name}{extension}".encode())

    def _metadata(self) -> dict[bytes, set[bytes]]:
        if self._random.random() < 0.5:
            return {}
        fields = self._random.sample(FIELDS, self._random.randint(1, 2))
        return {
            field.encode(): {value.encode() for value in self._random.sample(VALUES, 2)} for field in fields
        }

    def _log_presence(self) -> None:
        lines = [b"%s %s 1\n" % (q.key.raw, uuid) for q in self.questions.values() for uuid in q.holders]
        self._annex("setpresentkey", "--batch", stdin=b"".join(lines))

    def _log_metadata(self) -> None:
        journal = self._repo / ".git" / "annex" / "journal"
        journal.mkdir(exist_ok=True)
        for question in self.questions.values():
            fields = b" ".join(
                b" ".join((field, *(b"+!" + base64.b64encode(value) for value in sorted(values))))
                for field, values in question.metadata.items()
            )
            if fields:
                name = b"_".join((question.key.hash_lower.replace(b"/", b"_"), _journalled(question.key)))
                (journal / (name + b".log.met").decode()).write_bytes(b"1s " + fields + b"\n")

    def _commit(self) -> None:
        known = [b"%s r%d timestamp=1s\n" % (uuid, number) for number, uuid in enumerate(UUIDS)]
        with (self._repo / ".git" / "annex" / "journal" / "uuid.log").open("ab") as log:
            log.write(b"".join(known))
        for file, question in self.questions.items():
            link = self._repo / file.decode()
            link.parent.mkdir(parents=True, exist_ok=True)
            name = question.key.file_name.decode()
            depth = len(Path(file.decode()).parts) - 1
            link.symlink_to(f"{'../' * depth}.git/annex/objects/xx/yy/{name}/{name}")
        self._machine.git(self._repo, "add", ".")
        self._machine.git(self._repo, "commit", "-q", "-m", "files")
        self._annex("merge")

    def _annex(self, *argv: str, stdin: bytes = b"") -> bytes:
        return run("git-annex", *argv, cwd=self._repo, env=self._machine.env, stdin=stdin)


def _journalled(key: Key) -> bytes:
    return key.file_name.replace(b"_", b"__")


class Expressions:
    """Random ones, with a weakness for what is hard."""

    def __init__(self, random: random.Random) -> None:
        self._random = random

    def one(self, depth: int = 3) -> str:
        shape = self._random.random()
        if depth == 0 or shape < 0.35:
            return self.word()
        if shape < 0.5:
            return f"not {self.one(depth - 1)}"
        if shape < 0.75:
            return f"({self.one(depth - 1)})"
        between = self._random.choice((" and ", " or ", " or ", " "))
        return self.one(depth - 1) + between + self.one(depth - 1)

    def careless(self) -> str:
        """With words missing, doubled, or misplaced."""
        words = [self.word(), *self.one().replace("(", " ( ").replace(")", " ) ").split()]
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randrange(len(words) + 1)
            if self._random.random() < 0.5:
                words.insert(place, self._random.choice(("and", "or", "not", "(", ")")))
            elif 0 < place < len(words):
                del words[place]
        # What says nothing at all is not wanted by itself here, and wanted when git-annex sends it.
        said = set(words) - {"and", "or", "not", "(", ")"}
        return " ".join(words) if said else self.word()

    def word(self) -> str:
        r = self._random
        group = r.choice(GROUPS[:3] * 3 + GROUPS)
        number = r.choice(("0", "1", "1", "2", "2", "3", "-1", "4"))
        level = r.choice(("trusted", "semitrusted", "untrusted", "dead"))
        choices = (
            "anything",
            "nothing",
            "present",
            "securehash",
            "unused",
            "inpreferreddir",
            "standard",
            "groupwanted",
            f"include={self._glob()}",
            f"exclude={self._glob()}",
            f"copies={number}",
            f"copies={group}:{number}",
            f"copies={level}{r.choice(('', '+'))}:{number}",
            f"lackingcopies={number}",
            f"approxlackingcopies={number}",
            f"inbackend={r.choice(_BACKENDS)[0]}",
            f"inallgroup={group}",
            f"onlyingroup={group}",
            f"{r.choice(('largerthan', 'smallerthan'))}={self._size()}",
            f"metadata={self._metadata()}",
            self._balanced(),
            self._balanced(),
            self._balanced(),
        )
        return r.choice(choices)

    def _balanced(self) -> str:
        kind = self._random.choice(("balanced", "fullybalanced", "sizebalanced", "fullysizebalanced"))
        count = self._random.choice(
            ("", "", ":1", ":2", ":3", ":9", ":0", ":lackingcopies", ":lackingcopies")
        )
        return f"{kind}={self._random.choice(GROUPS[:3])}{count}"

    def _glob(self) -> str:
        return self._random.choice(
            (
                "*",
                "*.dat",
                "*archive/*",
                "*/*",
                "[0-4]*",
                "[!1]*",
                "*[[:upper:]]*",
                "*.t?t",
                "*/public/*",
                "x*",
                "?*e",
            )
        )

    def _size(self) -> str:
        return self._random.choice(
            ("0", "1", "1kb", "1KiB", "0.5mb", "1e3", "8kbit", "1megabyte", "1GB", "3tb", "2k", "1.5kib")
        )

    def _metadata(self) -> str:
        field = self._random.choice((*FIELDS, "TAG", "author", "none"))
        comparison = self._random.choice(("=", "=", "<", ">", "<=", ">="))
        value = self._random.choice(("*", "done", "DONE", "s*", "12", "50", "9", "*words", "m", ""))
        return field + comparison + value


class Worlds:
    """Random logs for a scene."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._expressions = Expressions(self._random)

    def one(self) -> dict[bytes, bytes]:
        """Everything that `LOGS` may say of `UUIDS`."""
        r = self._random
        make = self._expressions
        return {
            b"group.log": self._each(
                lambda: " ".join(r.sample(GROUPS[:3] * 2 + GROUPS, r.choice((0, 1, 1, 2, 3))))
            ),
            b"trust.log": self._each(lambda: r.choice("??01X??1")),
            b"preferred-content.log": self._each(
                lambda: make.careless() if r.random() < 0.15 else make.one()
            ),
            b"required-content.log": self._each(lambda: make.one() if r.random() < 0.15 else ""),
            b"remote.log": self._each(lambda: r.choice(("name=x", "preferreddir=pub", "preferreddir=y"))),
            b"group-preferred-content.log": self._named(
                {group: make.one(2) for group in r.sample(GROUPS[:4], r.randint(0, 2))}
            ),
            b"maxsize.log": self._named(
                {
                    uuid.decode(): str(r.choice((0, 10**6, 10**10, 3 * 10**10, 10**11)))
                    for uuid in r.sample(UUIDS, 5)
                }
            ),
            b"numcopies.log": b"1s %d\n" % r.choice((1, 1, 2, 3, 4)),
            b"cluster.log": self._cluster(),
        }

    def standard(self) -> dict[bytes, bytes]:
        """Everybody is in one of git-annex's own groups, and wants what that wants."""
        texts = self.one()
        groups = self._random.sample(GROUPS[2:], len(UUIDS))
        texts[b"group.log"] = self._each(lambda: groups.pop() + self._random.choice(("", "", " g", " h")))
        texts[b"preferred-content.log"] = self._each(
            lambda: self._random.choice(("standard", "not not standard"))
        )
        texts[b"required-content.log"] = b""
        return texts

    def _cluster(self) -> bytes:
        if self._random.random() < 0.5:
            return b""
        return b"1s %s %s\n" % (CLUSTER, b" ".join(self._random.sample(UUIDS, 2)))

    def _each(self, value: Callable[[], str]) -> bytes:
        return b"".join(b"%s %s timestamp=1s\n" % (uuid, value().encode()) for uuid in UUIDS)

    def _named(self, values: Mapping[str, str]) -> bytes:
        return b"".join(f"1s {name} {value}\n".encode() for name, value in values.items())
