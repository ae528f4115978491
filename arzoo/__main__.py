"""`python -m arzoo`: what `accelerate launch -m arzoo` starts in each process."""

from arzoo.cli import main

if __name__ == "__main__":
    main()
