"""Stock Whisper on plain torch: short windows, batches that rows join and leave between steps, one CUDA graph a shape.

Nothing outside this folder imports torch, and `model_file`, `shapes` and `choice` here do not either.
"""
