"""Events in, API server out: watches, cache, queue, apply, status, lease, metrics.

The engine makes a Plan true and knows nothing of what a plan means. Kinds are known to it by `Controller.kind` and by
the one table in `resources.py`.
"""
