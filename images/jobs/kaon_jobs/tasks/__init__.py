"""What pods do differently from task to task, a room for each. No other file of kaon_jobs names a task."""
