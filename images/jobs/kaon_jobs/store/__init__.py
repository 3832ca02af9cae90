"""The artifact store: objects, artifacts and their manifests, signatures, and whose keys count."""
