"""The command line: one file a command, one list of names."""
