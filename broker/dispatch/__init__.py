"""Dispatch: turns alarms into cases, gets them to the right phone, and watches the norm's clock until each is over."""
