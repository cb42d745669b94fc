"""The door to git: its command line, and the few of its file formats that are worth reading and writing ourselves."""
