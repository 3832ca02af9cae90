"""How a pod is heard: the Report of its stage, and the pages for people."""
