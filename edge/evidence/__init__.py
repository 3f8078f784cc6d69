"""Pictures and clips with unrecognisable faces."""
