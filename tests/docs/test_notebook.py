"""The notebook runs from its first cell to its last, in the environment's own kernel."""

import nbformat
import pytest
from nbclient import NotebookClient

from streaming.settings import ROOT
from tests.docs.conftest import VISIT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first_look.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("home")
def test_it_shows_a_frame_and_draws_a_chart() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=folder).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    frame, chart = shown
    assert "event_name" in frame["text/html"]
    assert all(f">{action}<" in chart["image/svg+xml"] for action in VISIT)


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
