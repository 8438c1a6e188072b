"""A load test: levels of load, their figures, audit and objective, kept in the history as they come."""
