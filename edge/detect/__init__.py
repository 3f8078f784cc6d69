"""The detector: model folders and the runtimes that run them."""
