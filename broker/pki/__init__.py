"""The installation's own certificate authority: a folder on the administrator's machine."""
