"""Figures that stand: the table of ``docs/results.md``, generated from summaries of runs that are committed with it.

A row of the table (``rows``) names a config, the figures that matter and what others published. A summary
(``summaries``) is made of a run's folder, never typed. The page (``page``) follows from both, by command.
"""
