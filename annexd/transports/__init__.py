"""Ways in and out of the process. They carry bytes and know no messages."""
