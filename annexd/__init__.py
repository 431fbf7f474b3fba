"""
annexd: a gateway for git-annex repositories.

It serves repositories to stock git-annex clients over any transport, from one
long-lived Twisted daemon instead of a process for each session.
"""

__version__ = "0.1.0"
