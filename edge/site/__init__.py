"""The site file: model, loading with line numbers, keeping the last good one."""
