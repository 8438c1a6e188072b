"""Sessions of live streams: admission, slots, the hub between clients and workers, drain and leases."""
