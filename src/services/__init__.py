"""What can be done. Imports the domain only. One public method is one unit of work."""
