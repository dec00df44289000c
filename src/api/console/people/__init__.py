"""People in the console: the list, the page of one, and what happened to them."""
