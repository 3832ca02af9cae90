"""What pods do differently from task to task, a folder for each. Nothing else of kaon_jobs names a task."""
