"""What tests with real clients share."""
