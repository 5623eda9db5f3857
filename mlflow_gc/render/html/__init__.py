"""A plan as one self-contained HTML file, without network, server or second file.

``entries`` flattens a plan.  ``ages`` and ``charts`` draw it, ``lists`` writes plain tables,
``data``
writes the data for the scripts; ``page`` combines all of it.  In the browser, ``report.js`` handles
the
page, ``entities.js`` the data, ``drawing.js`` rows and details, ``table.js`` all interaction.
"""

from mlflow_gc.render.html.page import show

__all__ = ["show"]
