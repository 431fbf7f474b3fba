"""The tests; `tests.interop` needs the real programs, `tests.soak` needs time."""

from hypothesis import settings

# A busy machine is not a bug: no test is about how long something takes.
settings.register_profile("annexd", deadline=None)
settings.load_profile("annexd")
