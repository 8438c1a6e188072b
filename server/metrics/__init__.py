"""What the server measures about itself and its machine, and how it says so."""
