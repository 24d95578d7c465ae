"""The server side: backbones, adapters, lora hubs, the meta-LoRA, and few-shot evaluation."""
