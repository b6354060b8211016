"""What every trainer shares: run folders, checkpoints, metrics, interruption."""
