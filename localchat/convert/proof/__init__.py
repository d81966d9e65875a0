"""Is a new model file what its checkpoint says? Checks that are made before anybody may use it."""
