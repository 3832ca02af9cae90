"""What techniques that train share: rows, views of rows, the loop."""
