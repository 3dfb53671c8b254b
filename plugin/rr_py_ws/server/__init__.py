"""The process: its run, what it is composed of, and how it ends."""
