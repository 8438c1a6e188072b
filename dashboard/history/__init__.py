"""What the dashboard writes into the history and reads out of it."""
