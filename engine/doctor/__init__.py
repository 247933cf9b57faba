"""What is right and wrong with this machine's setup, each problem with what mends it."""
