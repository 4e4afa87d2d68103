"""Tests of the console; the folders mirror the rooms of the house."""
