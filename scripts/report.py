"""A page about finished runs: `python scripts/report.py RUN [RUN ...]`."""

from gigp.lab.commands.report import main

if __name__ == "__main__":
    main()
