"""Files that are written from the code: each module makes one, and `./run lint --fix` writes it."""
