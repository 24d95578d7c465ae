"""What an export must pass before it is written: parity and few-shot accuracy. Imports `graph`."""
