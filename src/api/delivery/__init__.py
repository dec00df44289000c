"""What leaves the server: messages to webhooks, and the one HTTP client that sends them."""
