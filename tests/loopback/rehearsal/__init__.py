"""The rehearsal: loopback venues with prices that move, a page to play the venue's part on, and the console against them.

``make rehearse`` starts it; docs/rehearsal.md has exercises. Nothing here reaches a real venue or needs more than the console.
"""
