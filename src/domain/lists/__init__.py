"""Lists: the fields by which they are filtered and sorted, the language of filters, and pages."""
