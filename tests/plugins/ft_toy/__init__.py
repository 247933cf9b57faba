"""One of everything that another package can add to ft; docs/extending.md shows these files."""
