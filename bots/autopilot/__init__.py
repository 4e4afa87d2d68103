"""The autopilot: it scans a universe, makes bots for the best symbols, closes those whose score fell, and says why."""
