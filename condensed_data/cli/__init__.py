"""The command line: one file per command, plus the options and the text output that commands have in common."""
