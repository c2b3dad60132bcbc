"""Voice activity detection: from the posteriors of a network to the segments in which somebody speaks."""
