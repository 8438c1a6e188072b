"""The demo's two acts: a simulated fleet, and real speech on this machine."""
