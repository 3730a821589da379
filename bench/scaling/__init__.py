"""How the gate grows: what each path costs, what N replicas behind a balancer do, and whether that foresight holds."""
