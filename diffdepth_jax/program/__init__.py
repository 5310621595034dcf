"""How the programs start, print messages, end with an error, and keep compiled programs."""
