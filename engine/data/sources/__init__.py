"""Sources of rows: paths, URLs, hub datasets and Google Drive to plain local files."""
