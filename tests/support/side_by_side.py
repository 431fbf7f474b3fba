"""
The tests in parts, several at a time, each part a trial in a process of its own.

Run as ``python -m tests.support.side_by_side [-j N] PART...``.  A part is what
trial is to run, as words in one argument; they begin in the order given, so
the long ones belong in front.  A part that passes is a line here; of one that
does not, all that it printed follows.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_RULER = "=" * 79
_POLL_S = 0.02
_GRACE_S = 10.0

Command = Callable[[str, int], list[str]]
"""What to run for a part in a lane; two that run at the same time have different lanes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    part: str
    code: int
    seconds: float
    said: str

    @property
    def count(self) -> int:
        """How many tests there were; 0 when trial did not come to say so."""
        found = re.findall(r"^Ran (\d+) tests? in", self.said, re.MULTILINE)
        return int(found[-1]) if found else 0

    @property
    def passed(self) -> bool:
        return self.code == 0 and self.count > 0

    def report(self) -> str:
        word = "ok    " if self.passed else "FAILED"
        line = f"{word} {self.seconds:6.1f} s {self.count:5} tests  {self.part}"
        return line if self.passed else f"{line}\n{_RULER}\n{self.said.rstrip()}\n{_RULER}"


class _Run:
    """One part that is running."""

    def __init__(self, part: str, argv: list[str]) -> None:
        self._part = part
        self._began = time.monotonic()
        self._output = tempfile.TemporaryFile()  # a pipe would be held open by what a test leaves running
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            process_group=0,  # so that it is interrupted once, by `stop`
        )

    def ended(self) -> bool:
        return self._process.poll() is not None

    def outcome(self) -> Outcome:
        with self._output:
            self._output.seek(0)
            said = self._output.read().decode(errors="replace")
        return Outcome(self._part, self._process.returncode, time.monotonic() - self._began, said)

    def stop(self) -> Outcome:
        """As with ^C, the test that runs cleans up; but trial would go on with the next one."""
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(how)
            try:
                self._process.wait(_GRACE_S)
                break
            except subprocess.TimeoutExpired:
                continue
        return self.outcome()


def trial(part: str, lane: int) -> list[str]:
    return [
        *(sys.executable, "-m", "twisted.trial"),
        *(f"--temp-directory=_trial_temp_{lane}", *part.split()),
    ]


def outcomes(parts: list[str], jobs: int, command: Command = trial) -> Iterator[Outcome]:
    """In the order in which they end; those that were interrupted, too."""
    todo, lanes = deque(parts), deque(range(1, jobs + 1))
    running: dict[int, _Run] = {}
    try:
        while todo or running:
            while todo and lanes:
                lane, part = lanes.popleft(), todo.popleft()
                running[lane] = _Run(part, command(part, lane))
            for lane in [lane for lane, run in running.items() if run.ended()]:
                lanes.append(lane)
                yield running.pop(lane).outcome()
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        while running:
            yield running.popitem()[1].stop()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Run parts of the tests side by side.")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("parts", nargs="+", metavar="PART")
    options = parser.parse_args(argv)
    # Also where the shell has it ignored, as it has behind `&`; tests interrupt what they start.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    done = []
    for outcome in outcomes(options.parts, options.jobs):
        print(outcome.report(), flush=True)
        done.append(outcome)
    failed = sorted(outcome.part for outcome in done if not outcome.passed)
    successes = sum(outcome.count for outcome in done)
    if failed or len(done) < len(options.parts):
        print("FAILED:", *failed)
        return 1
    print(f"PASSED (successes={successes})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
