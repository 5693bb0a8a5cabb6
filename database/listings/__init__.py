"""What people ask: workflows, batches, files and rejected messages as lists. Everything in here only reads.

A list of rows that grow with time is bounded, the newest first, and each answer is one statement, whatever its length.
"""
