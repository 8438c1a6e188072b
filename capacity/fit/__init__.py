"""`fit`: any table of load levels, from a CSV file to predictions, an interval and a capacity with its status."""
