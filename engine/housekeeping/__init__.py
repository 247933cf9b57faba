"""Room on the disk: what takes it (`usage`), what may go (`facts`, `policy`), and freeing it (`clean`)."""
