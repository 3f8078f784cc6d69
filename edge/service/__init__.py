"""The node as a service: what it tells the service manager, and when it stops to."""
