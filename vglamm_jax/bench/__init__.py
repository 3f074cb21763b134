"""Measurements of this machine, as commands: never as tests with a clock."""

PARTS = ("clip", "llm", "sam2")  # of `vglamm bench inference`
