"""What hypothesis makes protocol values of."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from annexd.protocol import messages as m
from annexd.protocol.codec import SERVICES
from annexd.protocol.keys import Key

quick = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties that are looked at with each run of the unit tests."""

numbers = st.integers(0, 2**63 - 1)

# Text that the protocol treats specially is likelier than chance would have it.
_bits = st.sampled_from(
    [b"-", b"--", b"-s", b"-S1", b".", b"/", b"&", b"%", b":", b" ", b"\0", b"\r", b"E", b"\xc2\xa0"]
)
texts = st.lists(_bits | st.binary(max_size=4), max_size=8).map(
    lambda parts: b"".join(parts).replace(b"\n", b"")
)
lines = st.lists(_bits | st.binary(max_size=8), max_size=8).map(b"".join)

backends = st.sampled_from(
    [b"SHA256E", b"SHA256", b"WORM", b"URL", b"XFOO", b"XFOOE", b"a b", b"\xff", b"&%:/"]
)
fields = st.tuples(*(st.none() | numbers for _ in range(4)))


@st.composite
def keys(draw: st.DrawFn) -> Key:
    numbered = zip(b"smSC", draw(fields), strict=True)
    middle = b"".join(b"-%c%d" % (letter, value) for letter, value in numbered if value is not None)
    return Key.parse(draw(backends) + middle + b"--" + draw(texts))


# What goes through encode unchanged: see there for what does not.
words = st.from_regex(rb"[!-~\x80-\x9f]{1,12}", fullmatch=True)
word_lists = st.lists(words, max_size=4).map(tuple)
maybe_words = words | st.just(b"")
files = maybe_words.filter(lambda file: not file.startswith(b"/"))
error_texts = st.from_regex(rb"[ -~\x80-\xff]{0,40}", fullmatch=True)

messages: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(m.Auth, maybe_words, maybe_words),
    st.builds(m.AuthSuccess, texts),
    st.just(m.AuthFailure()),
    st.builds(m.Version, numbers),
    st.builds(m.Bypass, word_lists),
    st.builds(m.CheckPresent, keys()),
    st.builds(m.LockContent, keys()),
    st.just(m.UnlockContent()),
    st.builds(m.Remove, keys()),
    st.builds(m.RemoveBefore, numbers, keys()),
    st.just(m.GetTimestamp()),
    st.builds(m.Put, files, keys()),
    st.builds(m.Get, numbers, files, keys()),
    st.builds(m.Connect, st.sampled_from(sorted(SERVICES))),
    st.just(m.NotifyChange()),
    st.builds(m.PutFrom, numbers),
    st.just(m.AlreadyHave()),
    st.builds(m.AlreadyHavePlus, word_lists),
    st.builds(m.Data, numbers),
    st.just(m.DataPresent()),
    st.just(m.Valid()),
    st.just(m.Invalid()),
    st.just(m.Success()),
    st.builds(m.SuccessPlus, word_lists),
    st.just(m.Failure()),
    st.builds(m.FailurePlus, word_lists),
    st.builds(m.Timestamp, numbers),
    st.builds(m.ConnectDone, numbers),
    st.builds(m.Changed, word_lists),
    st.builds(m.Error, error_texts),
)
