"""Show orbits and what they add to predictions: `python scripts/explain.py FILE`."""

from gigp.lab.commands.explain import main

if __name__ == "__main__":
    main()
