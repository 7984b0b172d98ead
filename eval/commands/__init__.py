"""What the commands do, and the options that say what is asked of them."""
