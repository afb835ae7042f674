"""The methods: siblings of one shape that never import one another."""
