"""
annexd and git-annex's own shell, side by side in one run: `python -m bench`.

Only ratios from one run mean anything: both sides share the machine, the
clients that drive them and the noise, round by round in turn.
"""
