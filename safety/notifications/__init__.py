"""Telling people: messages, the channels that carry them, and what became of each."""
