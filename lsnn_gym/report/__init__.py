"""Reports: one HTML file a run, to be looked at in a browser, without network.

``parts`` is what a family of experiments says about a run, ``charts`` draws it, ``page`` writes the file.
Needs the extra ``report`` (Bokeh, Jinja2); importing this package does not.
"""
