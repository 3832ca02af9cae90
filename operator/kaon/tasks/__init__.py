"""Tasks, a file each: which metrics a task has and what a request to its model looks like. Pure data, imports nothing.

What a task is to the pods stands in the folder of the same name in kaon_jobs/tasks.
"""
