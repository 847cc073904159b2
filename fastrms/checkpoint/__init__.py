"""Optimizer state in and out of files: see `fastrms.load`, `fastrms.save`, `fastrms.Checkpoint`.

Nothing is imported here, so that `import fastrms` stays cheap.
"""
