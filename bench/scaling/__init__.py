"""Scaling: the cost of each path, a simulation of N replicas behind a balancer, and a check of its predictions."""
