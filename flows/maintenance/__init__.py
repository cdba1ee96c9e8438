"""What keeps the store in order, and what shows that the promises hold."""
