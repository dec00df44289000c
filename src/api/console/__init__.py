"""The console: the directory in a browser, over the same services as the API."""
