"""The monthly report of a site: figures from InfluxDB, pictures from dispatch, as PDF and XLSX."""


class ReportError(Exception):
    """There is no report: what could not be read or made, and what would help. Has no secrets."""
