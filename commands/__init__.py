"""The project's command line: one module per `./run` command."""
