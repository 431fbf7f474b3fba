"""
Requests to put to git-annex's server and to annexd alike, and what may differ.

A script is all that a client sends after its VERSION.  In scripts and answers
``{name}`` stands for a thing of `Fixture`, ``{V}`` for the line that follows
a body from version 1 on.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = (0, 1, 2, 3, 4)
VERIFIED = (1, 2, 3, 4)
EITHER = (0, 4)
NEWEST = (4,)

THIRTY = b"thirty bytes of absent content"
MORE = bytes(range(250)) * 800
SPOILT = b"thirty bytes, the seven of which are wrong"[:30]


@dataclass(frozen=True)
class Case:
    """
    ``instead`` is what annexd answers (before the marker) where it does not
    answer what git-annex-shell does, ``code`` its exit code where that is
    another; ``why`` says why it may.  ``alike``: what they leave behind is the
    same.  ``marked``: the session is still there, which a request at the end
    shows.
    """

    name: str
    script: bytes
    versions: tuple[int, ...] = NEWEST
    instead: bytes | None = None
    code: int | None = None
    why: str = ""
    alike: bool = True
    marked: bool = True
    environment: tuple[tuple[str, str], ...] = ()


UNKNOWN = b"ERROR unknown command\n"
READ_ONLY = (("GIT_ANNEX_SHELL_READONLY", "1"),)
APPEND_ONLY = (("GIT_ANNEX_SHELL_APPENDONLY", "1"),)
BOTH = READ_ONLY + APPEND_ONLY
CRASH = "git-annex-shell dies of it"
CLEARER = "git-annex-shell says it on stderr only, without the words"
GONE = "nobody reads it any more, and a session that ends inside a request is no success"
BEFORE = "git-annex-shell finds out only when the content is there"
AGREES = "fsck would throw such content out again: its size is not that of its key"
BEGINS_ANEW = "what is longer than the key cannot be the beginning of its content"
LONG_LINE = b"ERROR a line of more than 32767 bytes\n"
ASCII = "words are split on the ASCII space only"
DIGITS = "numbers are digits only"


def unreadable() -> list[Case]:
    lines = {
        "an unknown word": b"NONSENSE",
        "an empty line": b"",
        "a space": b" ",
        "lower case": b"checkpresent {hello}",
        "no key": b"CHECKPRESENT",
        "an empty key": b"CHECKPRESENT ",
        "half a key": b"CHECKPRESENT SHA256E-s6-5891",
        "a key without name": b"CHECKPRESENT SHA256E-s6--",
        "a key without backend": b"CHECKPRESENT -s6--abc",
        "a key with a bad size": b"CHECKPRESENT SHA256E-sx--abc",
        "a key with a negative size": b"CHECKPRESENT SHA256E-s-6--abc",
        "a key with fields in the wrong order": b"CHECKPRESENT WORM-m3-s6--abc",
        "a key with half a chunk": b"CHECKPRESENT SHA256E-s6-S3--abc",
        "a key with a long extension": b"CHECKPRESENT SHA256E-s6--abc." + b"x" * 70,
        "a lower case backend": b"CHECKPRESENT sha256-s6--abc",
        "an unknown backend": b"CHECKPRESENT FOO9-s6--abc",
        "a leading space": b" CHECKPRESENT {hello}",
        "two spaces": b"CHECKPRESENT  {hello}",
        "a trailing space": b"CHECKPRESENT {hello} ",
        "a CR": b"CHECKPRESENT {hello}\r",
        "two CRs": b"CHECKPRESENT {hello}\r\r",
        "a NUL in a key": b"CHECKPRESENT WORM-s3-m1--a\0b",
        "a NUL alone": b"\0",
        "invalid UTF-8 in a key": b"CHECKPRESENT WORM-s3-m1--\xff\xfe",
        "invalid UTF-8 alone": b"\xff\xfe\xc3",
        "a key with slashes": b"CHECKPRESENT WORM-s3-m1--../../../etc/passwd",
        "a key that is a path": b"CHECKPRESENT ../../../etc/passwd",
        "a long key": b"CHECKPRESENT WORM-s3-m1--" + b"n" * 400,
        "LOCKCONTENT without key": b"LOCKCONTENT",
        "UNLOCKCONTENT with key": b"UNLOCKCONTENT {hello}",
        "REMOVE without key": b"REMOVE",
        "REMOVE-BEFORE without key": b"REMOVE-BEFORE 5",
        "REMOVE-BEFORE without number": b"REMOVE-BEFORE x {hello}",
        "GETTIMESTAMP with a word": b"GETTIMESTAMP now",
        "GET without key": b"GET 0",
        "GET with one space": b"GET 0 {hello}",
        "GET without number": b"GET x  {hello}",
        "GET of a fraction": b"GET 1.5  {hello}",
        "GET with an absolute file": b"GET 0 /etc/passwd {hello}",
        "PUT with an absolute file": b"PUT /etc/passwd {absent}",
        "PUT without key": b"PUT a",
        "PUT of a file alone": b"PUT  ",
        "VERSION without number": b"VERSION",
        "VERSION of a word": b"VERSION x",
        "VERSION of a fraction": b"VERSION 1.5",
        "VERSION with a plus": b"VERSION +3",
        "DATA without number": b"DATA",
        "DATA of a word": b"DATA x",
        "PUT-FROM of a word": b"PUT-FROM x",
        "SUCCESS with a word": b"SUCCESS x",
        "FAILURE with a word": b"FAILURE x",
        "VALID with a word": b"VALID x",
        "ALREADY-HAVE with a word": b"ALREADY-HAVE x",
        "NOTIFYCHANGE with a word": b"NOTIFYCHANGE x",
        "CONNECT to an unknown service": b"CONNECT git-upload-archive",
        "CONNECT to nothing": b"CONNECT",
        "CONNECTDONE of a word": b"CONNECTDONE x",
        "AUTH without token": b"AUTH u",
        "AUTH-FAILURE with a word": b"AUTH-FAILURE x",
        "TIMESTAMP of a word": b"TIMESTAMP x",
        "the longest line": b"CHECKPRESENT WORM-s3-m1--" + b"n" * (32767 - 25),
    }
    cases = [Case("idle: unreadable lines", b"".join(line + b"\n" for line in lines.values()), ALL)]
    differing = {
        "a tab": (b"CHECKPRESENT\t{hello}", ASCII),
        "a wide space": ("CHECKPRESENT\u00a0".encode() + b"{hello}", ASCII),
        "VERSION with a minus": (b"VERSION -1", DIGITS),
        "VERSION in hex": (b"VERSION 0x3", DIGITS),
        "VERSION after a space": (b"VERSION  3", DIGITS),
        "VERSION before a space": (b"VERSION 3 ", DIGITS),
        "VERSION twice": (b"VERSION 2 3", DIGITS),
        "a negative GET": (b"GET -1  {hello}", CRASH),
        "a negative REMOVE-BEFORE": (b"REMOVE-BEFORE -5 {hello}", DIGITS),
        "a negative DATA": (b"DATA -1", DIGITS),
    }
    return cases + [
        Case(f"idle: {name}", line + b"\n", NEWEST, UNKNOWN, 0, why, alike=False)
        for name, (line, why) in differing.items()
    ]


def out_of_turn() -> list[Case]:
    lines = [
        b"SUCCESS",
        b"FAILURE",
        b"SUCCESS-PLUS",
        b"SUCCESS-PLUS u1 u2",
        b"FAILURE-PLUS",
        b"FAILURE-PLUS u1",
        b"ALREADY-HAVE",
        b"ALREADY-HAVE-PLUS",
        b"ALREADY-HAVE-PLUS u1",
        b"DATA 3",
        b"DATA-PRESENT",
        b"VALID",
        b"INVALID",
        b"UNLOCKCONTENT",
        b"PUT-FROM 0",
        b"TIMESTAMP 3",
        b"CONNECTDONE 0",
        b"CHANGED",
        b"CHANGED 0123 4567",
        b"AUTH uuid token",
        b"AUTH-SUCCESS uuid",
        b"AUTH-FAILURE",
        b"BYPASS",
        b"BYPASS u1",
        b"BYPASS u1  u2 ",
        b"GETTIMESTAMP",
        b"REMOVE-BEFORE 0 {hello}",
        b"REMOVE-BEFORE 0 {absent}",
    ]
    return [Case("idle: messages out of turn", b"".join(line + b"\n" for line in lines), ALL)]


def ends() -> list[Case]:
    return [
        Case("idle: nothing at all", b"", marked=False),
        Case("idle: ERROR ends it", b"ERROR what\nCHECKPRESENT {hello}\n", EITHER, marked=False),
        Case("idle: a bare ERROR ends it", b"ERROR\nCHECKPRESENT {hello}\n", EITHER, marked=False),
        Case("idle: half a line", b"CHECKPRES", EITHER, marked=False),
        Case("idle: a whole line without LF", b"CHECKPRESENT {hello}", EITHER, marked=False),
        _ended("idle: too long a line", b"CHECKPRESENT WORM--" + b"n" * 32800 + b"\n", LONG_LINE, CLEARER),
        _ended("idle: too long a line without LF", b"n" * 40000, LONG_LINE, CLEARER),
        _ended("body: the end inside", b"PUT  {absent}\nDATA 30\nthirty ", b"PUT-FROM 0\n", GONE),
        _ended("body: the end before it", b"PUT  {absent}\nDATA 30\n", b"PUT-FROM 0\n", GONE),
        _ended("body: the end before DATA", b"PUT  {absent}\n", b"PUT-FROM 0\n", GONE),
        _ended("body: the end inside, resumed", b"PUT  {partial}\nDATA 23\nes of ", b"PUT-FROM 7\n", GONE),
        _ended("lock: the end", b"LOCKCONTENT {hello}\n", b"SUCCESS\n", GONE),
        _ended("get: the end before the verdict", b"GET 0  {hello}\n", b"DATA 6\nhello\nVALID\n", GONE),
    ]


def _ended(name: str, script: bytes, instead: bytes, why: str) -> Case:
    """The session is over, and annexd says that it should not be."""
    return Case(name, script, NEWEST, instead, 1, why, marked=False)


def versions() -> list[Case]:
    lines = [
        b"VERSION 0",
        b"VERSION 1",
        b"VERSION 2",
        b"VERSION 3",
        b"VERSION 4",
        b"VERSION 5",
        b"VERSION 99",
    ]
    lines += [b"VERSION 007", b"VERSION 9999999999", b"VERSION 3\nVERSION 1\nVERSION 4"]
    return [
        Case(line.decode().replace("\n", ", "), line + b"\nGET 0  {hello}\nSUCCESS\n", EITHER)
        for line in lines
    ]


def reading() -> list[Case]:
    cases = [
        Case("CHECKPRESENT", b"".join(b"CHECKPRESENT {%s}\n" % key for key in KEYS), ALL),
        Case("GET of each key", b"".join(b"GET 0  {%s}\nSUCCESS\n" % key for key in KEYS), ALL),
        Case(
            "LOCKCONTENT of each key",
            b"".join(b"LOCKCONTENT {%s}\nUNLOCKCONTENT\n" % key for key in PRESENT),
            ALL,
        ),
        Case("LOCKCONTENT of an absent key", b"LOCKCONTENT {absent}\n", ALL),
        Case("LOCKCONTENT twice", b"LOCKCONTENT {hello}\nLOCKCONTENT {hello}\n", EITHER),
        Case("GET with a file", b"GET 0 a%b%%c.txt {hello}\nSUCCESS\n", EITHER),
        Case("GET with a file above", b"GET 0 ../x {hello}\nSUCCESS\n", EITHER),
        Case("GET with an odd file", b"GET 0 \x1b\xff\x01 {hello}\nSUCCESS\n", EITHER),
    ]
    offsets = [b"1", b"5", b"6", b"7", b"1000", b"007", b"99999999999"]
    cases += [Case(f"GET from {n.decode()}", b"GET %s  {hello}\nSUCCESS\n" % n, EITHER) for n in offsets]
    cases += [
        Case(f"GET absent from {n.decode()}", b"GET %s  {absent}\nFAILURE\n" % n, EITHER) for n in offsets[:2]
    ]
    cases += [
        Case(f"GET unsized from {n.decode()}", b"GET %s  {url}\nSUCCESS\n" % n, EITHER) for n in offsets[:5]
    ]
    odd = [
        b"FAILURE",
        b"ERROR what",
        b"ERROR",
        b"CHECKPRESENT {hello}",
        b"NONSENSE",
        b"",
        b"VALID",
        b"DATA 3",
    ]
    odd += [
        b"SUCCESS-PLUS u1",
        b"FAILURE-PLUS u1",
        b"SUCCESS-PLUS",
        b"UNLOCKCONTENT",
        b"BYPASS u",
        b"VERSION 3",
    ]
    cases += [
        Case(f"GET, then {line.decode()}", b"GET 0  {hello}\n%s\n" % line, (0, 1, 2, 4)) for line in odd
    ]
    cases += [
        Case(f"GET absent, then {line.decode()}", b"GET 0  {absent}\n%s\n" % line, EITHER) for line in odd
    ]
    cases += [
        Case(f"locked, then {line.decode()}", b"LOCKCONTENT {hello}\n%s\n" % line, EITHER) for line in odd
    ]
    cases += [
        Case("locked, then UNLOCKCONTENT with key", b"LOCKCONTENT {hello}\nUNLOCKCONTENT {hello}\n", EITHER)
    ]
    return cases


def reading_more() -> list[Case]:
    """Enough to be on its way for a while, so that both note the transfer."""
    cases = [Case(f"GET of more from {n}", b"GET %d  {more}\nSUCCESS\n" % n, EITHER) for n in (0, 1, 199_999)]
    odd = (b"FAILURE", b"ERROR what", b"NONSENSE", b"")
    return cases + [Case(f"GET of more, then {line.decode()}", b"GET 0  {more}\n%s\n" % line) for line in odd]


def removing() -> list[Case]:
    return [
        Case("REMOVE", b"REMOVE {hello}\nCHECKPRESENT {hello}\n", ALL),
        Case("REMOVE of an absent key", b"REMOVE {absent}\n", ALL),
        Case("REMOVE twice", b"REMOVE {hello}\nREMOVE {hello}\n", EITHER),
        Case("REMOVE of each key", b"".join(b"REMOVE {%s}\n" % key for key in PRESENT), EITHER),
        Case("REMOVE-BEFORE, long past", b"REMOVE-BEFORE 1 {hello}\nCHECKPRESENT {hello}\n", ALL),
        Case("REMOVE-BEFORE, far ahead", b"REMOVE-BEFORE 99999999999 {hello}\nCHECKPRESENT {hello}\n", ALL),
        Case("REMOVE-BEFORE of an absent key", b"REMOVE-BEFORE 1 {absent}\n", EITHER),
        Case(
            "REMOVE and put back",
            b"REMOVE {hello}\nPUT  {hello}\nDATA 6\nhello\n{V}CHECKPRESENT {hello}\n",
            ALL,
        ),
        Case(
            "LOCKCONTENT, UNLOCKCONTENT, REMOVE",
            b"LOCKCONTENT {hello}\nUNLOCKCONTENT\nREMOVE {hello}\n",
            EITHER,
        ),
    ]


def writing() -> list[Case]:
    put = b"PUT  {absent}\n"
    whole = b"DATA 30\n" + THIRTY
    wrong = b"DATA 30\n" + THIRTY[::-1]
    cases = [
        Case("PUT", put + whole + b"{V}CHECKPRESENT {absent}\nGET 0  {absent}\nSUCCESS\n", ALL),
        Case("PUT of a present key", b"PUT  {hello}\n", ALL),
        Case("PUT twice", put + whole + b"{V}" + put, EITHER),
        Case("PUT with a file", b"PUT a%b%%c.txt {absent}\n" + whole + b"{V}", EITHER),
        Case("PUT with a file above", b"PUT ../x {absent}\n" + whole + b"{V}", EITHER),
        Case("PUT with an odd file", b"PUT \x1b\xff\x01 {absent}\n" + whole + b"{V}", EITHER),
        Case("PUT with a space in the file", b"PUT a b {absent}\nERROR no\n", EITHER),
        Case("PUT of wrong content", put + wrong + b"{V}" + put + b"ERROR no\n", ALL),
        Case("PUT of too little", put + b"DATA 7\nthirty {V}" + put + b"ERROR no\n", ALL),
        Case("PUT of too much", put + b"DATA 31\n" + THIRTY + b"x{V}" + put + b"ERROR no\n", ALL),
        Case("PUT of nothing", put + b"DATA 0\n{V}" + put + b"ERROR no\n", ALL),
        Case("PUT of an empty key", b"PUT  {nothing}\nDATA 0\n{V}", ALL),
        Case("PUT of a WORM key", b"PUT  {worm_absent}\nDATA 3\nabc{V}", ALL),
        Case("PUT of a WORM key of another size", b"PUT  {worm_absent}\nDATA 4\nabcd{V}", ALL),
        Case("PUT of an URL key", b"PUT  {url_absent}\nDATA 3\nabc{V}", EITHER),
        Case("PUT of an unknown backend", b"PUT  FOO9-s3--abc\nDATA 3\nabc{V}", EITHER),
        Case("PUT of an unknown backend of another size", b"PUT  FOO9-s3--abc\nDATA 4\nabcd{V}", EITHER),
        Case("PUT of a key with a wrong size", b"PUT  {wrong_size}\n" + whole, (0,)),
        Case(
            "PUT of a key with a wrong size, verified by the sender",
            b"PUT  {wrong_size}\n" + whole + b"VALID\n",
            NEWEST,
            b"PUT-FROM 0\nFAILURE\n",
            why=AGREES,
            alike=False,
        ),
        Case("PUT of a key with an odd name", b"PUT  WORM-s3-m1--a%b/c&d:e f\nDATA 3\nabc{V}", EITHER),
        Case("PUT of an invalid UTF-8 name", b"PUT  WORM-s3-m1--\xff\xfe\nDATA 3\nabc{V}", EITHER),
        Case(
            "PUT of a name too long for a file",
            b"PUT  WORM-s3-m1--" + b"n" * 400 + b"\n",
            NEWEST,
            b"ERROR the key cannot be used as the name of a file\n",
            why=BEFORE,
        ),
        Case("PUT resumed", b"PUT  {partial}\nDATA 23\n" + THIRTY[::-1][7:] + b"{V}", ALL),
        Case(
            "PUT resumed wrongly",
            b"PUT  {partial}\nDATA 23\n" + b"x" * 23 + b"{V}PUT  {partial}\nERROR no\n",
            EITHER,
        ),
        Case(
            "PUT of too little, resumed", b"PUT  {partial}\nDATA 3\nxyz{V}PUT  {partial}\nERROR no\n", EITHER
        ),
        Case("PUT on a wrong partial", b"PUT  {spoilt}\nDATA 23\n" + SPOILT[7:] + b"{V}", EITHER),
        Case(
            "PUT on a long partial",
            b"PUT  {long}\nDATA 30\n" + THIRTY.upper() + b"VALID\n",
            NEWEST,
            b"PUT-FROM 0\nSUCCESS\n",
            why=BEGINS_ANEW,
            alike=False,
        ),
        Case("PUT on a whole partial", b"PUT  {whole}\nDATA 0\n{V}CHECKPRESENT {whole}\n", EITHER),
        Case("PUT on a whole partial, more", b"PUT  {whole}\nDATA 1\nx{V}PUT  {whole}\nERROR no\n", EITHER),
        Case("DATA-PRESENT, absent", put + b"DATA-PRESENT\n", NEWEST),
        Case("DATA-PRESENT too early", put + b"DATA-PRESENT\n", (0, 1, 2, 3)),
        Case("PUT, INVALID", put + whole + b"INVALID\nCHECKPRESENT {absent}\n", VERIFIED),
        Case("PUT of wrong content, INVALID", put + wrong + b"INVALID\n" + put + b"ERROR no\n", VERIFIED),
        Case("PUT given up", put + b"DATA 0\nINVALID\n" + put + b"ERROR no\n", VERIFIED),
        Case(
            "PUT given up, partial", b"PUT  {partial}\nDATA 0\nINVALID\nPUT  {partial}\nERROR no\n", VERIFIED
        ),
        Case("PUT of an empty key, INVALID", b"PUT  {nothing}\nDATA 0\nINVALID\n", VERIFIED),
        Case("PUT of an URL key, INVALID", b"PUT  {url_absent}\nDATA 3\nabcINVALID\n", VERIFIED),
        Case(
            "PUT, a negative DATA",
            put + b"DATA -1\n",
            NEWEST,
            b"PUT-FROM 0\nERROR expected DATA\n",
            code=0,
            why=CRASH,
            alike=False,
        ),
    ]
    odd = [
        b"ERROR no",
        b"ERROR",
        b"SUCCESS",
        b"NONSENSE",
        b"",
        b"DATA x",
        b"DATA",
        b"CHECKPRESENT {hello}",
        b"VALID",
    ]
    odd += [b"PUT  {absent}", b"BYPASS u", b"VERSION 4", b"ALREADY-HAVE", b"UNLOCKCONTENT"]
    cases += [Case(f"PUT, then {line.decode()}", put + line + b"\n", EITHER) for line in odd]
    for line in odd:
        cases.append(Case(f"PUT, body, then {line.decode()}", put + whole + line + b"\n", (1, 4)))
    cases += [Case(f"PUT, wrong body, then {line.decode()}", put + wrong + line + b"\n") for line in odd[:4]]
    return cases


def limited() -> list[Case]:
    script = (
        b"CHECKPRESENT {hello}\nGET 0  {hello}\nSUCCESS\nLOCKCONTENT {hello}\nUNLOCKCONTENT\nREMOVE {hello}\n"
        b"REMOVE-BEFORE 99999999999 {hello}\nREMOVE {absent}\nREMOVE-BEFORE 1 {absent}\nGETTIMESTAMP\n"
        b"CHECKPRESENT {hello}\n"
    )
    cases = []
    for name, environment in {"read-only": READ_ONLY, "append-only": APPEND_ONLY, "both": BOTH}.items():
        cases.append(Case(f"{name}: requests", script, ALL, environment=environment))
        cases.append(
            Case(f"{name}: PUT of a present key", b"PUT  {hello}\n", EITHER, environment=environment)
        )
    put = b"PUT  {absent}\n"
    cases.append(Case("read-only: PUT", put, EITHER, environment=READ_ONLY))
    cases.append(Case("read-only: PUT, ERROR", put + b"ERROR no\n", marked=False, environment=READ_ONLY))
    cases.append(Case("append-only: PUT", put + b"DATA 30\n" + THIRTY + b"{V}", ALL, environment=APPEND_ONLY))
    return cases


PRESENT = (b"hello", b"empty", b"worm", b"url")
KEYS = (*PRESENT, b"absent", b"nothing", b"partial")


def about_words() -> list[Case]:
    """What does not depend on the repository."""
    return [*unreadable(), *out_of_turn(), *ends(), *versions(), *limited()]


def about_content() -> list[Case]:
    return [*reading(), *reading_more(), *removing(), *writing()]
