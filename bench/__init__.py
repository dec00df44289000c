"""The measurements behind "Roster is fast": see README.md in this folder."""
