"""Which recordings there are, what is heard and known of each, and the manifest that lists them."""
