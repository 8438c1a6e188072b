"""History from elsewhere: CSV files with a map of their columns, and Prometheus-compatible servers."""
