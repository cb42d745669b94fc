"""Versions, channels and their log: which model is wanted where, since when, and who said so."""
