"""SelfAlign: subtomogram alignment and the averaging loop."""
