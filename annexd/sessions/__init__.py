"""One conversation with one peer, in either role."""
