"""Tests of the pages of the bots."""
