"""The pages for people with a browser: a view of the services, below `/ui/`."""
