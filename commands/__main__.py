"""`python -m commands`: what `./run` hands over to."""

from commands.cli import main

if __name__ == "__main__":
    main()
