"""What lies around the work: threads, folders, and a record of what ran."""
