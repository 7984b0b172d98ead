"""What lies around the work: threads, folders, the network, and a record of what ran."""
