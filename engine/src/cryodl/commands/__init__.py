"""Commands that belong to no method: doctor, bench, demo, simulate."""
