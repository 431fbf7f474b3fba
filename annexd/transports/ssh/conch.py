"""
What Conch's classes say to the log, under Conch's name.

Their loggers take the name of the class that asks, so what ours inherit would
look as if we had said it.
"""

from __future__ import annotations

from twisted.logger import Logger

said_by_conch = Logger(namespace="twisted.conch")
