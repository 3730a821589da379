"""Run work units on Ray."""
