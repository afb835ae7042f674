"""What two or more methods share. Nothing in here knows a method."""
