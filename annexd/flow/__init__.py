"""Bytes in bulk: bodies of known length, moved at the pace of whoever takes them."""
