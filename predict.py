"""Predict with a trained model: `python predict.py --help`."""

from gigp.lab.commands.predict import main

if __name__ == "__main__":
    main()
