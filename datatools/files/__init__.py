"""Files: fetched from anywhere, and those of other people kept before ours take their place."""
