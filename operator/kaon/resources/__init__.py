"""One file a child object: pure builders, spec in, manifest out (or nothing, when it is not wanted)."""
