"""The broker of a fleet: it knows the servers, and sends each client to one that has room. No engine, no audio."""
