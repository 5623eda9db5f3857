"""Settings of the documentation site; ``make docs`` builds it, without the network."""

from __future__ import annotations

import mlflow_gc

project = "mlflow-gc"
author = "The mlflow-gc authors"
copyright = "the mlflow-gc authors, Apache License 2.0"  # noqa: A001 - Sphinx's name
release = version = mlflow_gc.__version__

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_*"]
nitpicky = True
# Quotes and double dashes are those of commands.
smartquotes = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
# Links such as policy.md#keep, as GitHub makes them.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "mlflow-gc"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b6e6e",
        "color-brand-content": "#0b6e6e",
        "color-brand-visited": "#0b6e6e",
        "color-api-name": "#0b6e6e",
        "color-api-pre-name": "#6b6f76",
    },
    "dark_css_variables": {
        "color-brand-primary": "#5cc8c0",
        "color-brand-content": "#5cc8c0",
        "color-brand-visited": "#5cc8c0",
        "color-api-name": "#5cc8c0",
        "color-api-pre-name": "#9ca0a5",
    },
}

# Copies the commands of a session, without prompts and output.
copybutton_prompt_text = r"\$ |> "
copybutton_prompt_is_regexp = True

# make links.  Headings of a file on GitHub are not in the page that it sends.
linkcheck_anchors_ignore_for_url = [r"https://github\.com/"]
linkcheck_retries = 3
linkcheck_timeout = 30
