"""Showing what was trained: the demo and its pictures."""
