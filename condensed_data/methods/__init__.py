"""The methods: five kinds of parts, what each paper needs of them, and the recipes that compose them."""
