"""Reports: one HTML file a run, to be looked at in a browser, without network.

What a family of experiments says about a run is in ``report_parts``, ``charts`` draws it, ``page`` writes the file.
Needs the extra ``report`` (Bokeh, Jinja2); importing this package does not.
"""
