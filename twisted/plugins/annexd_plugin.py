"""`twistd annexd`; the rest is loaded when it is asked for."""

from twisted.application.service import ServiceMaker

annexd = ServiceMaker("annexd", "annexd.tap", "Serve git-annex repositories to git-annex clients.", "annexd")
