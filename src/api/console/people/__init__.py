"""People in the console: the list, the page of a person, and the history."""
