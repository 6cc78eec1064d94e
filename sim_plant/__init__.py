"""A simulated plant with equations of its own, finer than the controller's; it never imports thermal or control."""
