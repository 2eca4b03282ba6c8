"""Compare finished runs: `python scripts/compare.py [RUN ...]`."""

from gigp.lab.commands.compare import main

if __name__ == "__main__":
    main()
