"""What the directory knows: entities, their rules, what a store promises. Standard library only."""
