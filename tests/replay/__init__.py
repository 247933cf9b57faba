"""Runs that must come out as they did: in every bit against another commit, closely against a record."""
