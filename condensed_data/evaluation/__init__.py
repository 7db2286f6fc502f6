"""How good a set is: protocols, the training of networks, and what was measured."""
