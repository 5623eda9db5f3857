"""A plan as one HTML file that needs nothing else: no network, no server, no second file.

``entries`` flattens a plan, ``charts``, ``lists`` and ``data`` turn entries into pictures, plain
tables and what the scripts read, ``page`` puts all of it together.
"""

from mlflow_gc.views.html.page import show

__all__ = ["show"]
