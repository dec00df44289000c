"""The yardstick of "Roster is fast": see README.md beside this file."""
