"""A plan as one HTML file that needs nothing else: no network, no server, no second file.

``entries`` flattens a plan.  ``ages`` and ``charts`` draw it, ``lists`` writes plain tables, ``data``
what the scripts read; ``page`` puts all of it together.  In the browser, ``report.js`` is about the
page, ``entities.js`` about the data, ``drawing.js`` about rows and details, ``table.js`` about all
that can be clicked.
"""

from mlflow_gc.render.html.page import show

__all__ = ["show"]
