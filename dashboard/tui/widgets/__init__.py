"""The two widgets that everything is drawn with: a bar of one line, and a sheet of many."""
