"""Condensation methods: five kinds of parts, their implementations, and the recipes that compose them."""
