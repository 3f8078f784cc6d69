"""From findings to alarms and tallies: confirmation, life-cycle, seconds."""
