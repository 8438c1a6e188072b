"""Stock Whisper on plain torch: short windows, batches that rows join and leave between steps, one CUDA graph a shape.

Nothing outside this folder imports torch, and its modules `model_file`, `shapes` and `model_choice` do not either.
"""
