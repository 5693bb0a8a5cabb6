"""The chaos run: random batches through two real services that are killed, frozen and robbed of their database.

`python -m tests.faults.chaos --help` says how it is started. Nothing here is patched into the service: its only
additions are kinds of tasks, whose effects an outside world records that survives everything.
"""
