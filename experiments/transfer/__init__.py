"""The transfer study: what agents that read a manual carry over to manuals that they have not seen."""
