"""One gallery for the stations of a line, over a broker."""
