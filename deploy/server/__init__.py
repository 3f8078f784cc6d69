"""The site server: its folder, made and checked; the services in it set up; backup and restore."""
