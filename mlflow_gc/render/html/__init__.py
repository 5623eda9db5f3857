"""A plan as one self-contained HTML file.

In the browser, ``report.js`` handles the page, ``entities.js`` the data, ``drawing.js`` rows and
details, ``table.js`` all interaction.
"""

from mlflow_gc.render.html.page import show

__all__ = ["show"]
