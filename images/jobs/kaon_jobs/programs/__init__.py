"""What a pod runs, a file each: the order of the steps and nothing else."""
