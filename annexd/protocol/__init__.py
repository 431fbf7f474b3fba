"""The git-annex P2P protocol as values: no Twisted, no files, no clock."""
