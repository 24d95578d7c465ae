"""N-way K-shot accuracy on episodes. Imports `adapters`, `data`, and the export."""
