"""What knows RELION's files: names, stars, arrays, and how RELION makes a map of them."""
