"""The frozen vision transformer: loading, names, tokens. Imports PyTorch, timm and the runtime."""
