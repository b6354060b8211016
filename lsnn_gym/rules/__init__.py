"""Learning rules: what backward means for a spiking network, one file a rule."""
