"""What runs in a worker process. Nothing is imported here: a worker that cannot load says so in words."""
