"""What runs on the other side: standard library only, fast to start."""
