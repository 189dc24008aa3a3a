"""The REST API: routes by noun, what stands before them, and the process that serves them."""
