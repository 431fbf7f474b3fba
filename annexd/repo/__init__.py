"""One git-annex repository on this disk. Blocking work is fenced in here."""
