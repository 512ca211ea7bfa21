"""Who asks: tokens, the shared key of the old door, and the limits for those who guess."""
