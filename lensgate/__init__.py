"""The console script `lensgate`: runs a command, and names the extra to install if one is missing."""
