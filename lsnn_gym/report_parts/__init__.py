"""What reports are made of: replays and their views, tables, weights before and after; filled in by the families."""
