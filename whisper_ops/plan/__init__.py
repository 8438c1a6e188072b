"""What was planned, as the planner writes it, the history keeps it and every screen reads it."""
