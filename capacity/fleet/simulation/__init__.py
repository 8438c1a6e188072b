"""A fleet through its days, call by call, with what Erlang's formula cannot hold: machines that start and are lost."""
