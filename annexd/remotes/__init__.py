"""Places that are elsewhere, and the ways to them."""
