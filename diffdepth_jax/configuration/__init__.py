"""A configuration's fields: checked where they are read, known by their old names too."""
