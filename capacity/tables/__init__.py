"""Tables as people export them: the file, its rows, and what a cell says as a number or as a time."""
