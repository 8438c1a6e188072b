"""What every test starts with."""

import os

# Tests run beside each other, which a sweep would rightly take for other programs on the server's machine.
os.environ.setdefault("WHISPER_OPS_MAX_OTHER_LOAD", "100")
