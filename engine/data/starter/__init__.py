"""The dataset that ships with `ft`: café orders in plain words, and the same orders as strict JSON."""
