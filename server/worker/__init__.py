"""The worker process: one device, its model, its streams' audio, and the batching."""
