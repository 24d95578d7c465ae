"""The model that is exported: merging, embedding, pruning. Imports PyTorch and the runtime."""
