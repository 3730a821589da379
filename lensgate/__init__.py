"""The console script `lensgate`: it picks a command, and says which extra to install where one is missing."""
