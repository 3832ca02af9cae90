"""The report of a compression: report.json and report.html. Pure."""
