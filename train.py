"""Train and test one model, or sweep over many: `python train.py --help`."""

from gigp.lab.commands.train import main

if __name__ == "__main__":
    main()
