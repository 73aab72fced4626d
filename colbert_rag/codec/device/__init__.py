"""Training and packing on a device, in torch alone: neither Triton nor faiss for GPUs is needed."""
