"""What a load policy in Python may use."""
