"""One place for a parameter: from a config class come flags, help, checks, schema and tables."""
