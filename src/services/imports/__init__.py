"""Imports: many rows at once, by the rules that hold for one."""
