"""Files: MRC volumes, STAR tables, and writing that is whole or not at all."""
