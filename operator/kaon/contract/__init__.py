"""What a pod is told (JobSpec), what it leaves in the store (Manifest) and how inputs are addressed (digest).

Shared by the operator and by the code in pods. Pure data; imports only kaon.api.
"""
