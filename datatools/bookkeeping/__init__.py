"""What has to be done, what became of it as rows of the catalog, and who speaks for a picture."""
