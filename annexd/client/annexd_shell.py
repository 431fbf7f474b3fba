#!/bin/sh
""":"
# annexd-shell: what sshd runs in the place of git-annex-shell.
#
# It hands its standard input, output and error to the daemon over a unix
# socket and waits, as small as can be, for the exit code.  It starts once for
# every command of every client, so it is one file that imports next to nothing.
# annexd_shell.c does the ordinary part of it in less time, and comes here for
# the rest.
#
# As a program it begins here, as a shell script that looks for a Python: the
# one that it was installed with, else the system's.  "#!python" would come
# without the options, and those halve the time that Python takes to start.
self=$0
[ -L "$self" ] && self=$(command -p readlink -f -- "$self")
bin=${self%/*}
# Where it is installed as a module too, Python need not compile it every time.
run="import sys; sys.path.insert(0, sys.argv.pop(1)); import annexd_shell; annexd_shell.start()"
packages=$bin/../lib/python3*/site-packages
for place in $packages $packages/__editable__.annexd-*.pth; do
    [ ! -f "$place" ] || read -r place <"$place"
    [ -f "$place/annexd/client/annexd_shell.py" ] && [ -x "$bin/python3" ] &&
        exec "$bin/python3" -I -S -B -X utf8 -c "$run" "$place/annexd/client" "$@"
done
for python in "$bin/python3" /usr/bin/python3 /usr/local/bin/python3; do
    [ -x "$python" ] && exec "$python" -I -S -B -X utf8 "$self" "$@"
done
command -v python3 >/dev/null && exec python3 -I -S -B -X utf8 "$self" "$@"
echo "annexd-shell: there is no python3 on this machine" >&2
exit 1
"""

import _socket
import posix
import sys

VERSION = "0.1.0"

Words = list[bytes]
Values = dict[bytes, bytes]

USAGE = """\
usage: annexd-shell [--socket PATH] [--user NAME] [-c COMMAND]
       annexd-shell [--socket PATH] [--user NAME] VERB DIRECTORY [...]

Stands in for git-annex-shell, in authorized_keys for example:

    restrict,command="annexd-shell --user alice" ssh-ed25519 AAAA...

Without -c it does what SSH_ORIGINAL_COMMAND says.  The socket of the daemon is
--socket, else $ANNEXD_SOCKET, else /run/annexd/annexd.sock if it exists, else
$XDG_RUNTIME_DIR/annexd/annexd.sock.

It starts sooner as a C program: see annexd build-shell.
"""

SYSTEM_SOCKET = b"/run/annexd/annexd.sock"
CONNECT_SECONDS = 0.9  # the user is told within a second that nobody is there
ANSWER_SECONDS = 30.0
RETRY_SECONDS = 0.02
STANDARD_PATH = b"/usr/local/bin:/usr/bin:/bin"
RAN = b"ANNEXD_SHELL_RAN"  # tells us when what should be git-annex's own program is us

# Names of fields that the daemon reads, and where they come from.
ENVIRONMENT = (
    (b"home", b"HOME"),
    (b"readonly", b"GIT_ANNEX_SHELL_READONLY"),
    (b"appendonly", b"GIT_ANNEX_SHELL_APPENDONLY"),
    (b"limited", b"GIT_ANNEX_SHELL_LIMITED"),
    (b"directory", b"GIT_ANNEX_SHELL_DIRECTORY"),
    (b"connection", b"SSH_CONNECTION"),
)

# What remains of this process while a session lasts: a shell of a few hundred kB.
WAIT = """\
read code <&3
[ "$code" ] || { echo "annexd-shell: the daemon went away" >&2; code=1; }
exit "$code"
"""


class Problem(Exception):
    """Said on stderr; the exit code is 1."""


class Call:
    """What the command line asks for; names and values are bytes."""

    def __init__(self, arguments: Words, environ: Values) -> None:
        self.options: Values = {}
        self.command = b""
        rest = self.read_options(arguments)
        if rest[:1] == [b"-c"]:
            while rest[:1] == [b"-c"]:
                rest = rest[1:]
            self.command = rest[0] if len(rest) == 1 else as_line(rest)
            self.read_forced(environ.get(b"SSH_ORIGINAL_COMMAND", b""))
        elif rest:
            self.command = as_line(rest)
        else:
            self.command = environ.get(b"SSH_ORIGINAL_COMMAND", b"")

    def read_options(self, arguments: Words) -> Words:
        """The first of each counts: what a client may have been let add comes later."""
        while arguments and arguments[0].startswith(b"--"):
            name, equals, value = arguments[0].partition(b"=")
            if name not in (b"--socket", b"--user", b"--help", b"--version"):
                raise Problem(f"there is no option {text(name)}; see annexd-shell --help")
            arguments = arguments[1:]
            if name in (b"--socket", b"--user") and not equals:
                if not arguments:
                    raise Problem(f"{text(name)} needs a value")
                value, arguments = arguments[0], arguments[1:]
            self.options.setdefault(name[2:], value)
        return arguments

    def read_forced(self, original: bytes) -> None:
        """
        As a login shell: sshd passes what authorized_keys says to ``-c``, and
        only then is there another text in SSH_ORIGINAL_COMMAND.
        """
        if not original or original == self.command or b"user" in self.options:
            return
        words = self.command.split()
        if words and words[0].rpartition(b"/")[2] in (b"annexd-shell", b"git-annex-shell"):
            if len(words) == 1 or words[1].startswith(b"--"):
                if self.read_options(words[1:]):
                    raise Problem("the forced command has more than options")
                self.command = original


def as_line(words: Words) -> bytes:
    quoted = (b"'" + word.replace(b"'", b"'\\''") + b"'" for word in words)
    return b"git-annex-shell " + b" ".join(quoted) if words else b""


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def socket_path(options: Values, environ: Values) -> bytes:
    path = options.get(b"socket") or environ.get(b"ANNEXD_SOCKET")
    if path:
        return path
    try:
        posix.stat(SYSTEM_SOCKET)
        return SYSTEM_SOCKET
    except OSError:
        # sshd sets no XDG_RUNTIME_DIR where it does without PAM.
        runtime = environ.get(b"XDG_RUNTIME_DIR") or b"/run/user/%d" % posix.getuid()
        return runtime + b"/annexd/annexd.sock"


def connect(path: bytes) -> _socket.socket:
    import time

    if len(path) > 107:
        raise Problem(f"the path of the socket is too long: {text(path)}")
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            connection.connect(path)
            connection.settimeout(ANSWER_SECONDS)
            return connection
        except BlockingIOError:  # as many wait to be let in as can
            if time.monotonic() > end:
                raise Problem(f"the daemon at {text(path)} takes no more connections now") from None
            time.sleep(RETRY_SECONDS)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Problem(f"no annexd is running at {text(path)}") from None
        except OSError as error:
            raise Problem(f"the daemon at {text(path)} cannot be reached: {error}") from None


def frame(call: Call, environ: Values) -> bytes:
    fields = [b"shell", b"command=" + call.command]
    if call.options.get(b"user"):
        fields.append(b"user=" + call.options[b"user"])
    for name, variable in ENVIRONMENT:
        if variable in environ:
            fields.append(name + b"=" + environ[variable])
    try:
        fields.append(b"cwd=" + posix.getcwdb())
    except OSError:
        pass  # it was removed
    body = b"\0".join(fields)
    return len(body).to_bytes(4, "big") + body


def send(connection: _socket.socket, data: bytes) -> None:
    """The descriptors travel with the first byte."""
    standard = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
    sent = connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, standard)])
    try:
        if sent < len(data):
            connection.sendall(data[sent:])
    except (BrokenPipeError, ConnectionResetError):
        pass  # the daemon has heard enough, and says why


def receive(connection: _socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise Problem("the daemon went away")
        data += more
    return data


def wait(connection: _socket.socket) -> int:
    """Until the daemon says the exit code, which it may have done already."""
    connection.settimeout(0)
    try:
        code = connection.recv(16, _socket.MSG_PEEK)
        if code.endswith(b"\n"):
            return int(code)
    except BlockingIOError:
        pass
    connection.settimeout(None)
    posix.dup2(connection.fileno(), 3)
    posix.set_inheritable(3, True)
    posix.close(0)
    posix.close(1)
    for shell in ("/bin/dash", "/bin/sh"):
        try:
            posix.execve(shell, ["sh", "-c", WAIT], {})
        except OSError:
            pass
    return int(connection.recv(16) or 1)


def run(argv: Words, environ: Values) -> int:
    """Become another program; the way back to the daemon closes with that."""
    if argv[0].endswith(b"git-annex-shell"):
        environ[RAN] = argv[0]
    places = environ.get(b"PATH", b"") + b":" + STANDARD_PATH
    if b"/" in argv[0]:
        candidates = [argv[0]]
    else:
        candidates = [place + b"/" + argv[0] for place in places.split(b":") if place]
    for candidate in candidates:
        try:
            posix.execve(candidate, argv, environ)
        except OSError:
            pass
    raise Problem(f"{text(argv[0])} cannot be run here")


def open_standard() -> None:
    """Whoever called may have closed some; nothing else must come to have these numbers."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)
            posix.set_inheritable(fd, True)


def act(arguments: Words, environ: Values) -> int:
    call = Call(arguments, environ)
    if b"help" in call.options or b"version" in call.options:
        posix.write(1, (USAGE if b"help" in call.options else f"annexd-shell {VERSION}\n").encode())
        return 0
    if not call.command:
        raise Problem("there is no interactive shell here, only git and git-annex commands are served")
    if RAN in environ:
        raise Problem(f"{text(environ[RAN])} is no git-annex-shell: it leads here again")
    connection = connect(socket_path(call.options, environ))
    try:
        send(connection, frame(call, environ))
        answer = receive(connection, 1)
        if answer == b"w":
            return wait(connection)
        length = int.from_bytes(receive(connection, 4), "big")
        argv = receive(connection, length).split(b"\0")
    except _socket.timeout:
        raise Problem(f"the daemon has not answered within {ANSWER_SECONDS:g} seconds") from None
    except OSError as error:
        raise Problem(f"the daemon went away: {error.strerror}") from None
    return run(argv, environ)


def main() -> int:
    try:
        open_standard()
        arguments = [argument.encode("utf-8", "surrogateescape") for argument in sys.argv[1:]]
        return act(arguments, posix.environ)
    except Problem as problem:
        try:
            posix.write(2, b"annexd-shell: %s\n" % str(problem).encode())
        except OSError:
            pass
        return 1


def start() -> None:
    posix._exit(main())


if __name__ == "__main__":
    start()
