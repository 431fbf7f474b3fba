"""The tests; `tests.interop` needs the real programs, `tests.soak` needs time."""

import os

from hypothesis import settings

# A busy machine is not a bug: no test is about how long something takes.  And
# whoever waits for the tests gets more out of their number than out of many
# examples; ANNEXD_EXAMPLES=1000 is for the night.
_EXAMPLES = int(os.environ.get("ANNEXD_EXAMPLES", "30"))
settings.register_profile("annexd", deadline=None, max_examples=_EXAMPLES)
settings.load_profile("annexd")
