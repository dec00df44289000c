"""What clients write about attributes: paths, filters and their literals, and how strictly these are read."""
