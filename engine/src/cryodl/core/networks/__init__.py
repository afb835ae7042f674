"""Networks that more than one method uses; their layouts are fixed, so saved weights stay valid."""
