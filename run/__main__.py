"""`python -m run`: the command line."""

from __future__ import annotations

from run.cli import main

if __name__ == "__main__":
    main(prog_name="python -m run")
