"""`python -m commands.pages.dagster_ui`: Dagster's web server, with its own options, for its own pages only."""

from typing import Any
from urllib.parse import urlsplit

from dagster_webserver import cli
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.applications import Starlette

from commands.pages.same_origin import SameOriginOnly
from streaming.settings import load_settings


def main() -> None:
    """Serve."""
    own_name = urlsplit(load_settings().dagster_url).hostname

    def create_app(*arguments: Any, **options: Any) -> Starlette:
        app = create_app_from_workspace_process_context(*arguments, **options)
        app.add_middleware(SameOriginOnly, own_name=own_name)
        return app

    cli.create_app_from_workspace_process_context = create_app  # type: ignore[attr-defined]  # it offers no hook
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
