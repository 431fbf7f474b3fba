"""Which store answers for what."""
