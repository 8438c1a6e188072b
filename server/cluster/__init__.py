"""Workers that Ray places and restarts, each one server process on one GPU. Only `ray_cluster` knows Ray."""
