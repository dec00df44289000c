"""Messages to webhooks: the process and the HTTP client that send them."""
