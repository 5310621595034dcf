"""The configurations: `default` holds every field, the others set the fields that differ."""
