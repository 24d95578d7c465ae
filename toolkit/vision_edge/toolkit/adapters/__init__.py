"""LoRAs on a backbone: reading, writing, hubs of them. Imports `backbones`."""
