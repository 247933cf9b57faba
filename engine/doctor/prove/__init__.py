"""ft's own claims, tried on this machine with tiny models of each family and the starter."""
