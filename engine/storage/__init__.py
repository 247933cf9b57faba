"""Files: atomic writes, regular files only, and the operating system's errors explained."""
