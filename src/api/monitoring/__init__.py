"""Monitoring: what a process counts of its requests, for Prometheus and for the console."""
