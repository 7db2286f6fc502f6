"""Several processes that condense together: who computes what, and how gradients are exchanged."""
