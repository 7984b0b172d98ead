"""Every way to show a board: terminal table, one page, files for papers and notebooks."""
