"""What a station is told: its settings, and the file that they stand in."""
