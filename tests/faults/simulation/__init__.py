"""The real domain and lifecycle code in a simulated world: one seed is one history, exactly."""
