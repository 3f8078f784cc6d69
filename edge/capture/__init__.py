"""Cameras: sources, the reader thread that keeps the newest frame, the watchdog outside it."""
