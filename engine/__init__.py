"""Everything `ft` would still need without a terminal: recipes, data, plans, backends, runs."""
