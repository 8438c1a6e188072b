"""What can be done on the screens: a module a subject, each command a function and its entry in `registry`."""
