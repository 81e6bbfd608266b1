"""Networks from a specification, and what is made of a network: copies for inference, other heads."""
