"""The HTTP server: routes, admin calls, file uploads, the page, and the bounds on all of them."""
